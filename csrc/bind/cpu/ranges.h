// How a kernel's work is given to the threads: in ranges of rows or channels, without Python's lock.
#pragma once

#include <algorithm>

#include "bind/array_args.h"
#include "bind/cpu/without_gil.h"
#include "cpu/parallel.h"

namespace minivae {

// Elements below which a second thread costs more than it brings: a millisecond's fraction of work.
constexpr Index kGrain = 1 << 15;

// Calls run(first, last) on ranges of rows worth at least kGrain elements each.
template <class Run>
void over_rows(Index rows, Index columns, Run run) {
  without_gil([&] { parallel_for(rows, ceil_div(kGrain, std::max<Index>(1, columns)), run); });
}

// Calls run(images, first, last) on ranges of channels of an array (N, C, L). Images without pixels are not
// counted: there may be 2^62 of them, and nobody should wait for a loop over nothing.
template <class Run>
void over_channels(const Shape& shape, Run run) {
  const Index images = shape[2] > 0 ? shape[0] : 0;
  over_rows(shape[1], images * shape[2], [&](Index first, Index last) { run(images, first, last); });
}

}  // namespace minivae
