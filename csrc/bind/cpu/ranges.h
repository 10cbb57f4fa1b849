// Divides a kernel's work among the threads, in ranges of rows or channels, without Python's lock.
#pragma once

#include <algorithm>

#include "bind/array_args.h"
#include "bind/cpu/recorder.h"
#include "cpu/parallel.h"

namespace minivae {

// The fewest elements of a range. With less work, a fraction of a millisecond, a second thread costs more
// time than it saves.
constexpr Index kGrain = 1 << 15;

// Calls work(first, last) on ranges of rows worth at least kGrain elements each. As in `launch`, the work copies
// what it captures, and `arrays` are all whose memory it uses.
template <class Work>
void over_rows(std::initializer_list<py::object> arrays, Index rows, Index columns, Work work) {
  const Index grain = ceil_div(kGrain, std::max<Index>(1, columns));
  launch(arrays, [=] { parallel_for(rows, grain, work); });
}

// Calls work(N, C, L, first, last) on ranges of channels of an array (N, C, L). Where images have no
// pixels N is 0: an empty array may have 2^62 images, and a loop over them would not end.
template <class Work>
void over_channels(std::initializer_list<py::object> arrays, const Shape& shape, Work work) {
  const Index N = shape[2] > 0 ? shape[0] : 0, C = shape[1], L = shape[2];
  over_rows(arrays, C, N * L, [=](Index first, Index last) { work(N, C, L, first, last); });
}

}  // namespace minivae
