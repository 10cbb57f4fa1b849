"""csrc/cuda/launch_geometry.h: every layout gives each element to exactly one thread.

The tests call the header's own functions, whose index formulas the kernels use; the formula that
stays in the kernels (element = block * threads + thread) is repeated here.
"""

import cuda_build
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

LANES = [1, 2, 4, 8, 16, 32]
sizes = st.one_of(st.integers(0, 3000), st.integers(2**31 - 5, 2**31 + 5), st.integers(0, 2**38))
threads = st.sampled_from([32, 64, 128, 256, 1024])


@pytest.fixture(scope="module")
def geometry():
    return cuda_build.emulated().emulator.geometry


@given(count=sizes, each=st.sampled_from([1, 2, 4]), threads=threads)
@example(count=2**31 * 256 + 1, each=1, threads=1024)
def test_elements(geometry, count, each, threads):
    """Runs of `each` elements per thread cover all elements, and the last block is not idle."""
    blocks, size = geometry.over_elements(count, each, threads)
    assert size == threads
    assert blocks * threads * each >= count
    assert (blocks - 1) * threads * each < count or blocks == 0 == count


@given(rows=sizes, lanes=st.sampled_from(LANES), threads=threads)
def test_rows(geometry, rows, lanes, threads):
    """Threads t with t // lanes == row are `lanes` of one block, and of one warp, for every row."""
    assume(-(-rows // (threads // lanes)) < 2**31)  # more are refused: the test below
    blocks, size = geometry.lanes_per_row(rows, lanes, threads)
    per_block = size // lanes
    assert size % lanes == 0 and 32 % lanes == 0
    assert blocks * per_block >= rows
    assert (blocks - 1) * per_block < rows or blocks == 0 == rows
    assert geometry.exponent_of(lanes) == lanes.bit_length() - 1


@given(rows=st.integers(0, 2**31 - 1))
def test_a_block_per_row(geometry, rows):
    assert geometry.block_per_row(rows, 256) == (rows, 256)


@pytest.mark.parametrize("call", ["over_elements", "block_per_row", "lanes_per_row"])
def test_more_blocks_than_a_grid_has_are_refused(geometry, call):
    arguments = {
        "over_elements": (2**31 * 256, 1, 256),
        "block_per_row": (2**31, 256),
        "lanes_per_row": (2**31 * 8, 32, 256),
    }[call]
    with pytest.raises(ValueError, match="2147483648 blocks of threads, more than 2147483647"):
        getattr(geometry, call)(*arguments)


@given(row=sizes, columns=st.one_of(st.integers(0, 70), st.integers(0, 2**24)), data=st.data())
def test_quads_of_a_row_are_its_elements(geometry, row, columns, data):
    """The parts of a row's quads, put together in order, are the row."""
    begin, end = row * columns, (row + 1) * columns
    first, last = geometry.quads_of_row(row, columns)
    assert last - first <= geometry.quads_touched(columns)

    def elements(quad):
        part_begin, part_end = geometry.part_in_row(quad, row, columns)
        assert 0 <= part_begin < part_end <= 4
        return 4 * quad + part_begin, 4 * quad + part_end

    if columns == 0:
        assert first >= last
        return
    assert elements(first)[0] == begin and elements(last - 1)[1] == end
    for quad in range(first, min(last - 1, first + 20)):
        assert elements(quad)[1] == elements(quad + 1)[0]
    if last - first > 2:  # anywhere inside, quads are whole
        quad = data.draw(st.integers(first + 1, last - 2))
        assert elements(quad) == (4 * quad, 4 * quad + 4)


@given(columns=st.integers(0, 300), row=st.integers(0, 9))
def test_lanes_share_out_the_quads(geometry, columns, row):
    """first + lane, first + lane + lanes, ...: each quad once; one pass where a warp is enough."""
    lanes = geometry.lanes_for_quads(columns)
    first, last = geometry.quads_of_row(row, columns)
    taken = [q for lane in range(lanes) for q in range(first + lane, last, lanes)]
    assert sorted(taken) == list(range(first, last))
    assert lanes in LANES and (lanes == 32 or last - first <= lanes)
    most = max(e - f for f, e in (geometry.quads_of_row(r, columns) for r in range(4)))
    assert most == geometry.quads_touched(columns)
