// The number of the interface between the bindings and minivae/kernels. It is raised, here and in
// minivae/kernels/interface.py, with every change of what a function of either extension takes or gives, so
// that an extension built from other sources is told from one that fits.
#pragma once

namespace minivae {

constexpr int kInterface = 7;

}  // namespace minivae
