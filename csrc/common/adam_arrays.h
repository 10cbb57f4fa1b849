// What an Adam step changes of one parameter: its array and moments, with the gradient it reads.
#pragma once

#include "common/host_device.h"

namespace minivae {

template <class T>
struct AdamArrays {
  T* p;
  const T* g;
  T *m, *v;
  Index count;
};

}  // namespace minivae
