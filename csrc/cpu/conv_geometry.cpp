// Which elements of an image each tap reads, and how many images or rows a thread processes at a time.
#include "cpu/conv_geometry.h"

#include <algorithm>

namespace minivae {

ConvTaps conv_taps(const ConvAxis& axis) {
  ConvTaps taps;
  for (Index k = 0; k < axis.kernel; ++k) {
    const Index distance = k * axis.dilation, remainder = distance % axis.stride;
    const auto known = std::find(taps.remainder.begin(), taps.remainder.end(), remainder);
    taps.phase.push_back(known - taps.remainder.begin());
    if (known == taps.remainder.end()) taps.remainder.push_back(remainder);
    taps.shift.push_back(distance / axis.stride);
    taps.reach = std::max(taps.reach, taps.shift.back());
  }
  return taps;
}

Phases ConvTaps::inputs(const ConvAxis& axis, Index first, Index outputs) const {
  Phases phases{axis.input, axis.stride, outputs + reach, {}};
  for (Index r : remainder) phases.start.push_back(first * axis.stride + r - axis.padding);
  return phases;
}

AdjointTaps adjoint_taps(const ConvAxis& axis) {
  const Index s = axis.stride;
  AdjointTaps taps{std::vector<AdjointPhase>(static_cast<std::size_t>(s)), 0, 0, 0, 0, 0};
  for (Index k = 0; k < axis.kernel; ++k) {
    AdjointPhase& phase = taps.phase[static_cast<std::size_t>(k * axis.dilation % s)];
    phase.tap.push_back(k);
    phase.shift.push_back(k * axis.dilation / s);
    taps.reach = std::max(taps.reach, phase.shift.back());
  }
  bool empty = true;
  for (Index r = 0; r < s; ++r) {
    AdjointPhase& phase = taps.phase[static_cast<std::size_t>(r)];
    const Index past =
        axis.input + axis.padding - r;  // first <= i < last is 0 <= i * s + r - padding < input
    phase.first = std::max<Index>(0, axis.padding - r + s - 1) / s;
    phase.last = past > 0 ? (past + s - 1) / s : 0;
    if (phase.first >= phase.last) continue;
    const Index low = phase.shift.empty() ? 0 : phase.shift.front();
    const Index high = phase.shift.empty() ? 0 : phase.shift.back();
    taps.first = empty ? phase.first : std::min(taps.first, phase.first);
    taps.last = empty ? phase.last : std::max(taps.last, phase.last);
    taps.reads_first = empty ? phase.first - high : std::min(taps.reads_first, phase.first - high);
    taps.reads_last = empty ? phase.last - low : std::max(taps.reads_last, phase.last - low);
    empty = false;
  }
  return taps;
}

ConvBlock conv_block(Index images, Index rows, Index row_bytes, Index least_blocks) {
  constexpr Index kBudget = 640 << 10;
  const Index fit = std::max<Index>(1, kBudget / std::max<Index>(1, row_bytes));
  if (fit < rows) return {1, ceil_div(rows, ceil_div(rows, fit))};
  const Index most = std::max<Index>(1, images / least_blocks);
  const Index blocks = ceil_div(images, std::clamp<Index>(fit / std::max<Index>(1, rows), 1, most));
  return {ceil_div(images, std::max<Index>(1, blocks)), rows};
}

}  // namespace minivae
