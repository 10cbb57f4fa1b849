// The number of the interface between the bindings and minivae/kernels. It is raised, here and in
// minivae/kernels/interface.py, with every change of what a function of either extension takes or gives, so
// that an extension that was built from other sources is recognised and refused.
#pragma once

namespace minivae {

constexpr int kInterface = 7;

}  // namespace minivae
