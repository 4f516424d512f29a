"""Triton kernels that mix heads of attention maps: tiles of queries, keys and values in; sums of values, gradients out.

A program holds a tile of the maps of all heads of one image, so that Theta is a matrix product over the heads, and
walks along the keys (or the queries) of that image. No map leaves a program. What is summed over the batch, the squares
and the gradient of Theta, is written once a program and summed afterwards, in a fixed order.

What bounds them is shared memory, through which tiles go from one product to the next, for one has the heads apart and
the other mixes them; hence every tile crosses it rounded and as seldom as may be (`python -m benchmarks fused_cost`).

Imported on first use, for it needs triton. Nothing but constants is annotated: Triton reads annotations as code.
Shapes in brackets: heads, rows (queries) and keys are padded; what is padded holds 0 in Theta and in the centred map.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
import triton
import triton.language as tl
from triton.language import constexpr

SIDE = constexpr(16)
"""Of the smallest product of matrices; with fewer heads Theta mixes several parts of a tile at once."""
NUM_WARPS = constexpr(8)
"""Of a program."""


@triton.jit
def program_place(num_tokens: constexpr, SIZE: constexpr):
    """The image of this program, and the rows or keys of it that the program owns, [SIZE]."""
    num_tiles: constexpr = (num_tokens + SIZE - 1) // SIZE
    program = tl.program_id(0)
    return (program // num_tiles).to(tl.int64), program % num_tiles * SIZE + tl.arange(0, SIZE)


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
def load_log_sums(log_sums, numbers, is_there, num_tokens: constexpr):
    """[heads, rows]; what is padded has the sum of a uniform row, whose centred softmax is 0."""
    return tl.load(log_sums + numbers, mask=is_there, other=tl.log2(tl.full((), num_tokens, tl.float32)))


@triton.jit
def load_theta(theta, stride_out, stride_in, HEADS: constexpr, num_heads: constexpr):
    """[SIDE, SIDE]: as often along the diagonal as there are parts of a flat tile; 0 elsewhere."""
    places = tl.arange(0, SIDE)
    heads, parts = places % HEADS, places // HEADS
    is_inside = (parts[:, None] == parts[None, :]) & (heads < num_heads)[:, None] & (heads < num_heads)[None, :]
    return tl.load(theta + heads[:, None] * stride_out + heads[None, :] * stride_in, mask=is_inside, other=0.0)


@triton.jit
def load_slopes(slopes, HEADS: constexpr, num_heads: constexpr):
    """[SIDE], as the rows of Theta."""
    heads = tl.arange(0, SIDE) % HEADS
    return tl.load(slopes + heads, mask=heads < num_heads, other=0.0)


@triton.jit
def product(left, right, rounded: constexpr, operand: constexpr):
    """left @ right of rounded operands, summed in float32.

    `operand` is the type they are multiplied in: float32 in the interpreter, which takes bfloat16 for integers.
    """
    return tl.dot(left.to(rounded).to(operand), right.to(rounded).to(operand), input_precision="ieee")


@triton.jit
def add_product(summed, left, right, rounded: constexpr, operand: constexpr):
    """summed + left @ right, as `product`."""
    return tl.dot(left.to(rounded).to(operand), right.to(rounded).to(operand), summed, input_precision="ieee")


@triton.jit
def turned(tile):
    """Each matrix transposed."""
    return tl.permute(tile, (0, 2, 1))


@triton.jit
def flattened(maps):
    """[heads, rows, keys] as [SIDE, rows * keys / parts]: heads of the first part of the rows, of the second, ..."""
    size: constexpr = maps.shape[1] * maps.shape[2]
    parts: constexpr = SIDE // maps.shape[0]
    apart = tl.permute(tl.reshape(maps, (maps.shape[0], parts, size // parts)), (1, 0, 2))
    return tl.reshape(apart, (SIDE, size // parts))


@triton.jit
def unflattened(flat, HEADS: constexpr, ROWS: constexpr, KEYS: constexpr):
    """[heads, rows, keys] again."""
    parts: constexpr = SIDE // HEADS
    apart = tl.reshape(flat, (parts, HEADS, ROWS * KEYS // parts))
    return tl.reshape(tl.permute(apart, (1, 0, 2)), (HEADS, ROWS, KEYS))


@triton.jit
def as_result(flat, rounded: constexpr, operand: constexpr):
    """A flat tile unchanged, laid out as products lay out what they return.

    That is how `inner_products` needs its operands: a product by the identity costs less than shared memory would.
    """
    if rounded != tl.float32:
        places = tl.arange(0, SIDE)
        identity = (places[:, None] == places[None, :]).to(tl.float32)
        flat = product(identity, flat, rounded, operand)
    return flat


@triton.jit
def inner_products(summed, left, right, rounded: constexpr, operand: constexpr):
    """Added to [NUM_WARPS, SIDE, SIDE]: those of the rows of two flat tiles, over the columns of each warp apart.

    Of what a product returns a warp holds eight columns in every 8 * NUM_WARPS; kept together, they leave no thread.
    """
    runs: constexpr = left.shape[1] // (8 * NUM_WARPS)
    of_left = tl.permute(tl.reshape(left.to(rounded), (SIDE, runs, NUM_WARPS, 8)), (2, 0, 1, 3))
    of_right = tl.permute(tl.reshape(right.to(rounded), (SIDE, runs, NUM_WARPS, 8)), (2, 1, 3, 0))
    of_left = tl.reshape(of_left, (NUM_WARPS, SIDE, 8 * runs))
    of_right = tl.reshape(of_right, (NUM_WARPS, 8 * runs, SIDE))
    return add_product(summed, of_left, of_right, rounded, operand)


@triton.jit
def softmax_tile(q, k, log_sum, scale, is_inside, rounded: constexpr, operand: constexpr):
    """[heads, rows, keys] of the softmax from each row's log2 of its sum; 0 outside."""
    logits = product(q, turned(k), rounded, operand) * scale - log_sum[:, :, None]
    return tl.exp2(tl.where(is_inside, logits, float("-inf")))


@triton.jit
def centre(softmax, is_inside, num_tokens, rounded: constexpr):
    """The softmax minus 1/N, rounded; 0 outside."""
    return (softmax - tl.where(is_inside, 1.0 / num_tokens, 0.0)).to(rounded)


@triton.jit
def forward_kernel(
    q, k, v, theta, out, log_sums, squares,
    scale, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of rows of one image: its summed values, the log2 sums of its rows, and its squares a head and part."""
    image, rows = program_place(num_tokens, ROWS)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
    peak = tl.full((HEADS, ROWS), float("-inf"), tl.float32)
    total = tl.zeros((HEADS, ROWS), tl.float32)
    for start in range(0, num_tokens, 2 * KEYS):
        columns = start + tl.arange(0, 2 * KEYS)
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        logits = product(queries, turned(keys), rounded, operand)
        logits = tl.where((columns < num_tokens)[None, None, :], logits, float("-inf"))
        higher = tl.maximum(peak, tl.max(logits, axis=2))
        total = total * tl.exp2((peak - higher) * scale)
        total += tl.sum(tl.exp2(logits * scale - (higher * scale)[:, :, None]), axis=2)
        peak = higher
    log_sum = peak * scale + tl.log2(total)
    numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
    tl.store(log_sums + image * num_heads * num_tokens + numbers, log_sum, mask=is_there)
    mixing = load_theta(theta, num_heads, 1, HEADS, num_heads)
    squared = tl.zeros((SIDE, ROWS * KEYS * HEADS // SIDE), tl.float32)  # added up across threads once, at the end
    summed = tl.zeros((HEADS, ROWS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        is_inside = (columns < num_tokens)[None, None, :]
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        values = load_tile(v + image * in_image, places, are_there, columns, in_row, num_tokens)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        mixed = product(mixing, flattened(centre(softmax, is_inside, num_tokens, rounded)), rounded, operand)
        squared += mixed * mixed
        summed = add_product(summed, unflattened(mixed.to(rounded), HEADS, ROWS, KEYS), values, rounded, operand)
    store_tile(out + image * out_image, summed, out_places, are_there, rows, out_row, num_tokens)
    tl.store(squares + tl.program_id(0).to(tl.int64) * SIDE + tl.arange(0, SIDE), tl.sum(squared, axis=1))


@triton.jit
def rows_kernel(
    q, k, centred_k, centred_v, theta, of_out, slopes, log_sums, of_q, row_dots, of_theta,
    scale, factor, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of rows of one image: the gradient of its queries, its part of Theta's, its rows' sums of A dA.

    A row's sum d is known at its end only, so that sum A (dA - d) K is taken apart: sum A dA K - d sum A K. In these
    two K comes centred, which does not change their difference and keeps roundings small.
    """
    image, rows = program_place(num_tokens, ROWS)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
    of_summed = load_tile(of_out + image * out_image, out_places, are_there, rows, out_row, num_tokens)
    numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
    first_row = image * num_heads * num_tokens
    log_sum = load_log_sums(log_sums + first_row, numbers, is_there, num_tokens)
    unmixing = load_theta(theta, 1, num_heads, HEADS, num_heads)
    sloped = load_theta(theta, num_heads, 1, HEADS, num_heads) * load_slopes(slopes, HEADS, num_heads)[:, None]
    of_squares = product(unmixing, sloped, tl.float32, tl.float32)
    weighted = tl.zeros((HEADS, ROWS, KEYS), tl.float32)  # added up across threads once, at the end
    of_mixing = tl.zeros((NUM_WARPS, SIDE, SIDE), tl.float32)
    of_queries = tl.zeros((HEADS, ROWS, CHANNELS), tl.float32)
    attended_keys = tl.zeros((HEADS, ROWS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        is_inside = (columns < num_tokens)[None, None, :]
        keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
        centred_keys = load_tile(centred_k + image * out_image, out_places, are_there, columns, out_row, num_tokens)
        values = load_tile(centred_v + image * out_image, out_places, are_there, columns, out_row, num_tokens)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        centred = flattened(centre(softmax, is_inside, num_tokens, rounded))
        of_summed_map = flattened(product(of_summed, turned(values), rounded, operand).to(rounded))
        of_mixed = add_product(as_result(of_summed_map, rounded, operand), sloped, centred, rounded, operand)
        of_mixing = inner_products(of_mixing, of_mixed, as_result(centred, rounded, operand), rounded, operand)
        of_map = product(unmixing, of_summed_map, rounded, operand)
        of_map = add_product(of_map, of_squares, centred, rounded, operand)
        of_map = softmax * unflattened(of_map.to(rounded), HEADS, ROWS, KEYS).to(tl.float32)
        weighted += of_map
        of_queries = add_product(of_queries, of_map, centred_keys, rounded, operand)
        attended_keys = add_product(attended_keys, softmax, centred_keys, rounded, operand)
    row_dot = tl.sum(weighted, axis=2)
    tl.store(row_dots + first_row + numbers, row_dot, mask=is_there)
    numbers = tl.arange(0, SIDE)[:, None] * SIDE + tl.arange(0, SIDE)[None, :]
    tl.store(of_theta + tl.program_id(0).to(tl.int64) * SIDE * SIDE + numbers, tl.sum(of_mixing, axis=0))
    of_queries = (of_queries - row_dot[:, :, None] * attended_keys) * factor
    store_tile(of_q + image * out_image, of_queries, out_places, are_there, rows, out_row, num_tokens)


@triton.jit
def keys_kernel(
    q, k, centred_v, theta, of_out, slopes, log_sums, row_dots, of_k, of_v,
    scale, factor, in_image, in_head, in_row, out_image, out_head, out_row,
    num_tokens: constexpr, num_heads: constexpr, head_dim: constexpr, HEADS: constexpr, CHANNELS: constexpr,
    ROWS: constexpr, KEYS: constexpr, rounded: constexpr, operand: constexpr,
):  # fmt: skip
    """A tile of keys of one image: the gradients of its keys and values."""
    image, columns = program_place(num_tokens, KEYS)
    places, are_there = across(in_head, num_heads, head_dim, HEADS, CHANNELS)
    out_places, are_there = across(out_head, num_heads, head_dim, HEADS, CHANNELS)
    is_inside = (columns < num_tokens)[None, None, :]
    keys = load_tile(k + image * in_image, places, are_there, columns, in_row, num_tokens)
    values = load_tile(centred_v + image * out_image, out_places, are_there, columns, out_row, num_tokens)
    mixing = load_theta(theta, num_heads, 1, HEADS, num_heads)
    unmixing = load_theta(theta, 1, num_heads, HEADS, num_heads)
    sloped = mixing * load_slopes(slopes, HEADS, num_heads)[:, None]
    of_squares = product(unmixing, sloped, tl.float32, tl.float32)
    of_keys = tl.zeros((HEADS, KEYS, CHANNELS), tl.float32)
    of_values = tl.zeros((HEADS, KEYS, CHANNELS), tl.float32)
    for start in range(0, num_tokens, ROWS):
        rows = start + tl.arange(0, ROWS)
        queries = load_tile(q + image * in_image, places, are_there, rows, in_row, num_tokens)
        of_summed = load_tile(of_out + image * out_image, out_places, are_there, rows, out_row, num_tokens)
        numbers, is_there = row_places(rows, num_tokens, HEADS, num_heads)
        numbers += image * num_heads * num_tokens
        log_sum = load_log_sums(log_sums, numbers, is_there, num_tokens)
        row_dot = tl.load(row_dots + numbers, mask=is_there, other=0.0)
        softmax = softmax_tile(queries, keys, log_sum, scale, is_inside, rounded, operand)
        centred = flattened(centre(softmax, is_inside, num_tokens, rounded))
        of_map = flattened(product(of_summed, turned(values), rounded, operand).to(rounded))
        mixed = unflattened(product(mixing, centred, rounded, operand).to(rounded), HEADS, ROWS, KEYS)
        of_values = add_product(of_values, turned(mixed), of_summed, rounded, operand)
        of_map = product(unmixing, of_map, rounded, operand)
        of_map = add_product(of_map, of_squares, centred, rounded, operand)
        of_map = unflattened(of_map.to(rounded), HEADS, ROWS, KEYS).to(tl.float32)
        of_logits = (softmax * (of_map - row_dot[:, :, None])).to(rounded)
        of_keys = add_product(of_keys, turned(of_logits), queries, rounded, operand)
    store_tile(of_k + image * out_image, of_keys * factor, out_places, are_there, columns, out_row, num_tokens)
    store_tile(of_v + image * out_image, of_values, out_places, are_there, columns, out_row, num_tokens)
