"""Triton kernels that mix heads of attention maps: tiles of queries, keys and values in; sums of values, gradients out.

A program holds a tile of the maps of all heads of one image, so that Theta is a matrix product over the heads, and
walks along the keys (or the queries) of that image. No map leaves a program. What is summed over the batch, the squares
and the gradient of Theta, is written once a program and summed afterwards, in a fixed order.

Imported on first use, for it needs triton. Nothing but constants is annotated: Triton reads annotations as code.
Shapes in brackets: heads, rows (queries) and keys are padded; what is padded holds 0 in Theta and in the centred map.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
import triton
import triton.language as tl
from triton.language import constexpr

SMALL = constexpr(8)
"""Up to so many heads, padding included, are mixed by sums: a matrix product takes 16 at least."""


@triton.jit
def across(stride_head, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr):
    """Where the channels of all heads of a token stand, and whether they are there: [heads, 1, channels] both."""
    heads, channels = tl.arange(0, HEADS)[:, None, None], tl.arange(0, CHANNELS)[None, None, :]
    return heads * stride_head + channels, (heads < num_heads) & (channels < head_dim)


@triton.jit
def load_tile(base, places, are_there, rows, stride_row, num_rows):
    """[heads, rows, channels] of an image that starts at `base`, 0 where it has none."""
    is_inside = are_there & (rows < num_rows)[None, :, None]
    return tl.load(base + places + rows[None, :, None] * stride_row, mask=is_inside, other=0.0)


@triton.jit
def store_tile(base, tile, places, are_there, rows, stride_row, num_rows):
    """The same places, written."""
    is_inside = are_there & (rows < num_rows)[None, :, None]
    tl.store(base + places + rows[None, :, None] * stride_row, tile.to(base.dtype.element_ty), mask=is_inside)


@triton.jit
def row_places(rows, num_rows, HEADS: constexpr, num_heads: constexpr):
    """Where the numbers a head and row stand in [heads, tokens], and whether they are there: [heads, rows] both."""
    heads = tl.arange(0, HEADS)
    is_inside = (heads < num_heads)[:, None] & (rows < num_rows)[None, :]
    return heads[:, None] * num_rows + rows[None, :], is_inside


@triton.jit
def load_theta(theta, stride_out, stride_in, HEADS: constexpr, num_heads: constexpr):
    """[heads, heads], padded with 0."""
    heads = tl.arange(0, HEADS)
    is_inside = (heads < num_heads)[:, None] & (heads < num_heads)[None, :]
    return tl.load(theta + heads[:, None] * stride_out + heads[None, :] * stride_in, mask=is_inside, other=0.0)


@triton.jit
def product(left, right, rounded: constexpr, operand: constexpr):
    """left @ right of rounded operands, summed in float32.

    `operand` is the type they are multiplied in: float32 in the interpreter, which takes bfloat16 for integers.
    """
    return tl.dot(left.to(rounded).to(operand), right.to(rounded).to(operand), input_precision="ieee")


@triton.jit
def turned(tile):
    """Each head's matrix transposed."""
    return tl.permute(tile, (0, 2, 1))


@triton.jit
def mix(theta, maps, rounded: constexpr, operand: constexpr):
    """Theta over the heads of [heads, rows, keys]."""
    if maps.shape[0] <= SMALL:
        mixed = tl.sum(theta[:, :, None, None] * maps[None, :, :, :], axis=1)
    else:
        flat = tl.reshape(maps, (maps.shape[0], maps.shape[1] * maps.shape[2]))
        mixed = tl.reshape(product(theta, flat, rounded, operand), maps.shape)
    return mixed


@triton.jit
def inner_products(left, right, rounded: constexpr, operand: constexpr):
    """Of each head's map in `left` and in `right`: [heads, heads]."""
    if left.shape[0] <= SMALL:
        summed = tl.sum(tl.sum(left[:, None, :, :] * right[None, :, :, :], axis=3), axis=2)
    else:
        by_row = product(tl.permute(left, (1, 0, 2)), tl.permute(right, (1, 2, 0)), rounded, operand)
        summed = tl.sum(by_row, axis=0)
    return summed


@triton.jit
def softmax_tile(q, k, log_sum, scale, is_inside, rounded: constexpr, operand: constexpr):
    """[heads, rows, keys] of the softmax from each row's log2 of its sum; 0 outside."""
    logits = product(q, turned(k), rounded, operand) * scale
    return tl.where(is_inside, tl.exp2(logits - log_sum[:, :, None]), 0.0)


@triton.jit
def mixed_and_its_gradient(
    theta, softmax, is_inside, num_tokens, v, of_out, slope, rounded: constexpr, operand: constexpr
):  # fmt: skip
    """The centred map, Theta times it, and the gradient of that; all [heads, rows, keys]."""
    centred = tl.where(is_inside, softmax - 1.0 / num_tokens, 0.0)
    mixed = mix(theta, centred, rounded, operand)
    return centred, mixed, product(of_out, turned(v), rounded, operand) + mixed * slope[:, None, None]


@triton.jit
def forward_kernel(
    q, k, v, theta, out, log_sums, squares,
    scale, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of rows of one image: its summed values, the log2 sums of its rows, and its squares a head."""
    image = tl.program_id(1).to(tl.int64)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
    peak = tl.full((HEADS, ROWS), float("-inf"), tl.float32)
    total = tl.zeros((HEADS, ROWS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        logits = product(queries, turned(keys), rounded, operand) * scale
        logits = tl.where((columns < num_tokens)[None, None, :], logits, float("-inf"))
        higher = tl.maximum(peak, tl.max(logits, axis=2))
        total = total * tl.exp2(peak - higher) + tl.sum(tl.exp2(logits - higher[:, :, None]), axis=2)
        peak = higher
    log_sum = peak + tl.log2(total)
    numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
    tl.store(log_sums + image * num_heads * num_tokens + numbers, log_sum, mask=is_there)
    mixing = load_theta(theta, num_heads, 1, HEADS, num_heads)
    squared = tl.zeros((HEADS, ROWS, KEYS), tl.float32)  # added up across threads once, at the end
    summed = tl.zeros((HEADS, ROWS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        is_inside = (rows < num_tokens)[None, :, None] & (columns < num_tokens)[None, None, :]
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        values = load_tile(v + image * in_image, places, are_there, columns, in_row, num_tokens)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        mixed = mix(mixing, tl.where(is_inside, softmax - 1.0 / num_tokens, 0.0), rounded, operand)
        squared += mixed * mixed
        summed += product(mixed, values, rounded, operand)
    store_tile(out + image * out_image, summed, out_places, are_there, rows, out_row, num_tokens)
    program = image * tl.num_programs(0) + tl.program_id(0)
    square = tl.sum(tl.sum(squared, axis=2), axis=1)
    tl.store(squares + program * HEADS + tl.arange(0, HEADS), square)


@triton.jit
def rows_kernel(
    q, k, v, theta, of_out, slopes, log_sums, of_q, row_dots, of_theta,
    scale, factor, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of rows of one image: the gradient of its queries, its part of Theta's, its rows' sums of A dA."""
    image = tl.program_id(1).to(tl.int64)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    heads = tl.arange(0, HEADS)
    queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
    of_summed = load_tile(of_out + image * out_image, out_places, are_there, rows, out_row, num_tokens)
    slope = tl.load(slopes + heads, mask=heads < num_heads, other=0.0)
    mixing = load_theta(theta, num_heads, 1, HEADS, num_heads)
    unmixing = load_theta(theta, 1, num_heads, HEADS, num_heads)
    numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
    first_row = image * num_heads * num_tokens
    log_sum = tl.load(log_sums + first_row + numbers, mask=is_there, other=0.0)
    row_dot = tl.zeros((HEADS, ROWS), tl.float32)
    of_mixing = tl.zeros((HEADS, HEADS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        is_inside = (rows < num_tokens)[None, :, None] & (columns < num_tokens)[None, None, :]
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        values = load_tile(v + image * in_image, places, are_there, columns, in_row, num_tokens)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        centred, _, of_mixed = mixed_and_its_gradient(
            mixing, softmax, is_inside, num_tokens, values, of_summed, slope, rounded, operand
        )
        of_mixing += inner_products(of_mixed, centred, rounded, operand)
        row_dot += tl.sum(mix(unmixing, of_mixed, rounded, operand) * softmax, axis=2)
    tl.store(row_dots + first_row + numbers, row_dot, mask=is_there)
    program = image * tl.num_programs(0) + tl.program_id(0)
    square_places = heads[:, None] * HEADS + heads[None, :]
    tl.store(of_theta + program * HEADS * HEADS + square_places, of_mixing)
    of_queries = tl.zeros((HEADS, ROWS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        is_inside = (rows < num_tokens)[None, :, None] & (columns < num_tokens)[None, None, :]
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        values = load_tile(v + image * in_image, places, are_there, columns, in_row, num_tokens)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        _, _, of_mixed = mixed_and_its_gradient(
            mixing, softmax, is_inside, num_tokens, values, of_summed, slope, rounded, operand
        )
        of_logits = softmax * (mix(unmixing, of_mixed, rounded, operand) - row_dot[:, :, None])
        of_queries += product(of_logits, keys, rounded, operand)
    store_tile(of_q + image * out_image, of_queries * factor, out_places, are_there, rows, out_row, num_tokens)


@triton.jit
def keys_kernel(
    q, k, v, theta, of_out, slopes, log_sums, row_dots, of_k, of_v,
    scale, factor, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of keys of one image: the gradients of its keys and values."""
    image = tl.program_id(1).to(tl.int64)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    columns = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    heads = tl.arange(0, HEADS)
    keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
    values = load_tile(v + image * in_image, places, are_there, columns, in_row, num_tokens)
    slope = tl.load(slopes + heads, mask=heads < num_heads, other=0.0)
    mixing = load_theta(theta, num_heads, 1, HEADS, num_heads)
    unmixing = load_theta(theta, 1, num_heads, HEADS, num_heads)
    of_keys = tl.zeros((HEADS, KEYS, CHANNELS), tl.float32)
    of_values = tl.zeros((HEADS, KEYS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        is_inside = (rows < num_tokens)[None, :, None] & (columns < num_tokens)[None, None, :]
        queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
        of_summed = load_tile(of_out + image * out_image, out_places, are_there, rows, out_row, num_tokens)
        numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
        numbers += image * num_heads * num_tokens
        log_sum = tl.load(log_sums + numbers, mask=is_there, other=0.0)
        row_dot = tl.load(row_dots + numbers, mask=is_there, other=0.0)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        _, mixed, of_mixed = mixed_and_its_gradient(
            mixing, softmax, is_inside, num_tokens, values, of_summed, slope, rounded, operand
        )
        of_values += product(turned(mixed), of_summed, rounded, operand)
        of_logits = softmax * (mix(unmixing, of_mixed, rounded, operand) - row_dot[:, :, None])
        of_keys += product(turned(of_logits), queries, rounded, operand)
    store_tile(of_k + image * out_image, of_keys * factor, out_places, are_there, columns, out_row, num_tokens)
    store_tile(of_v + image * out_image, of_values, out_places, are_there, columns, out_row, num_tokens)
