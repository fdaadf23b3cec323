# SPDX-License-Identifier: Apache-2.0
"""Attention backends in the shape that engines plug in."""

from onebeat.backends.forward_batch import ForwardBatch, ForwardMode
from onebeat.backends.paged_attention import AttentionMetadata, PagedAttentionBackend

__all__ = ["AttentionMetadata", "ForwardBatch", "ForwardMode", "PagedAttentionBackend"]
