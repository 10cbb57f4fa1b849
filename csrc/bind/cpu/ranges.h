// How a kernel's work is given to the threads: in ranges of rows or channels, without Python's lock.
#pragma once

#include <algorithm>

#include "bind/array_args.h"
#include "bind/cpu/recorder.h"
#include "cpu/parallel.h"

namespace minivae {

// Elements below which a second thread costs more than it brings: a millisecond's fraction of work.
constexpr Index kGrain = 1 << 15;

// Calls work(first, last) on ranges of rows worth at least kGrain elements each. As in `launch`, the work copies
// what it captures, and `arrays` are all whose memory it uses.
template <class Work>
void over_rows(std::initializer_list<py::object> arrays, Index rows, Index columns, Work work) {
  const Index grain = ceil_div(kGrain, std::max<Index>(1, columns));
  launch(arrays, [=] { parallel_for(rows, grain, work); });
}

// Calls work(N, C, L, first, last) on ranges of channels of an array (N, C, L). Images without pixels are not
// counted: there may be 2^62 of them, and nobody should wait for a loop over nothing.
template <class Work>
void over_channels(std::initializer_list<py::object> arrays, const Shape& shape, Work work) {
  const Index N = shape[2] > 0 ? shape[0] : 0, C = shape[1], L = shape[2];
  over_rows(arrays, C, N * L, [=](Index first, Index last) { work(N, C, L, first, last); });
}

}  // namespace minivae
