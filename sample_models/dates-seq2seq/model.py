"""A reader of dates: an LSTM reads the characters, an LSTM with attention writes the date, one sign after the other.

    characters (B, T)
      |  embed, read from both ends (bidirectional LSTM)
    memory (B, T, 128)
      |  ten times:   where to look        attention(state, memory)   one weight a character
      |               what to write next   LSTM(last sign, what was looked at)
    logits (B, 10, 11)

The attention is additive, as in "Neural Machine Translation by Jointly Learning to Align and Translate" (Bahdanau et
al., 2015): a small network scores each character against the state of the writer.
Shapes: B texts, T characters (at most 40), M = 128 channels of the memory, A = 64 of the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHARACTERS = 63
PAD = 0
SIGNS = 11  # the ten digits and the dash
STEPS = 10  # signs of an answer, "1994-03-03"
EMBEDDING = 32
READER = 64  # channels of each direction
MEMORY = 2 * READER
ATTENTION = 64
SIGN_EMBEDDING = 16
WRITER = 128


class Attention(nn.Module):
    """Additive attention: score = v . tanh(W state + U memory), a softmax over the characters of the text."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WRITER, ATTENTION, bias=False)
        self.key = nn.Linear(MEMORY, ATTENTION)
        self.score = nn.Linear(ATTENTION, 1, bias=False)

    def forward(self, state: Tensor, memory: Tensor, keys: Tensor, padding: Tensor) -> Tensor:
        """What is looked at: state [B, WRITER], memory [B, T, M], keys [B, T, A], padding [B, T] -> [B, M].

        The keys are `self.key(memory)`, the same at every step.
        """
        hidden = torch.tanh(self.query(state).unsqueeze(1) + keys)  # (B, T, A)
        scores = self.score(hidden).squeeze(2).masked_fill(padding, float("-inf"))  # (B, T)
        weights = scores.softmax(dim=1)  # (B, T)
        return (weights.unsqueeze(1) @ memory).squeeze(1)  # (B, 1, T) @ (B, T, M) -> (B, M)


class DateReader(nn.Module):
    """Character ids [B, T], padded with PAD at the end, -> logits [B, 10, 11] of the signs of the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, EMBEDDING, padding_idx=PAD)
        self.reader = nn.LSTM(EMBEDDING, READER, batch_first=True, bidirectional=True)
        self.start = nn.Linear(MEMORY, WRITER)
        self.attention = Attention()
        self.signs = nn.Embedding(SIGNS + 1, SIGN_EMBEDDING)  # the last one stands before the first sign
        self.writer = nn.LSTM(SIGN_EMBEDDING + MEMORY, WRITER, batch_first=True)
        self.head = nn.Linear(WRITER + MEMORY, SIGNS)

    def forward(self, source: Tensor, previous: Tensor | None = None) -> Tensor:
        """Writes by itself: each sign it chose is what it goes on from.

        previous: signs [B, 10] to go on from instead, the right ones in training (of the last one nothing follows).
        """
        places = torch.arange(1, source.shape[1] + 1, device=source.device)  # (T,)
        lengths = (places * (source != PAD)).amax(dim=1).clamp_min(1)  # (B), up to the last character
        padding = places > lengths.unsqueeze(1)  # (B, T)
        memory = self._read(source, lengths)  # (B, T, M)
        keys = self.attention.key(memory)  # (B, T, A)
        letters = (~padding).unsqueeze(2).to(memory.dtype)  # (B, T, 1)
        mean = (memory * letters).sum(dim=1) / letters.sum(dim=1)  # (B, M)
        hidden = torch.tanh(self.start(mean)).unsqueeze(0)  # (1, B, WRITER)
        cell = torch.zeros_like(hidden)
        sign = torch.full_like(source[:, 0], SIGNS)  # (B)
        written = []
        for step in range(STEPS):
            seen = self.attention(hidden[0], memory, keys, padding)  # (B, M)
            given = torch.cat([self.signs(sign), seen], dim=1).unsqueeze(1)  # (B, 1, SIGN_EMBEDDING + M)
            _, (hidden, cell) = self.writer(given, (hidden, cell))
            logits = self.head(torch.cat([hidden[0], seen], dim=1))  # (B, SIGNS)
            written.append(logits)
            sign = logits.argmax(dim=1) if previous is None else previous[:, step]
        return torch.stack(written, dim=1)  # (B, 10, SIGNS)

    def _read(self, source: Tensor, lengths: Tensor) -> Tensor:
        """The memory [B, T, M]; packed, so that reading from the end starts at the last character."""
        letters = pack_padded_sequence(self.characters(source), lengths.cpu(), batch_first=True, enforce_sorted=False)
        memory, _ = self.reader(letters)
        return pad_packed_sequence(memory, batch_first=True, total_length=source.shape[1])[0]


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return DateReader()
