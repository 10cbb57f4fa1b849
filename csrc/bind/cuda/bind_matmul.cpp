// Matrix products.
#include <algorithm>

#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/matmul.h"

namespace minivae {
namespace {

// A matrix of any strides that are whole elements, and the memory between its first and last element.
template <class T>
struct MatrixArg {
  Index rows, cols;
  MatrixView<T> view;
  Extent extent;

  MatrixArg(const char* name, const py::object& value) {
    const DeviceArray a = device_array(name, value);
    if (a.type != type_text<T>()) {
      throw py::type_error(std::string(name) + " must be " + dtype_name<T>() + " in native byte order, got " +
                           a.type);
    }
    const Shape shape = device_matrix_shape(name, value);
    rows = shape[0];
    cols = shape[1];
    constexpr Index size = sizeof(T);
    Shape strides{cols * size, size};
    const py::object given = value.attr("__cuda_array_interface__").attr("get")("strides");
    if (!given.is_none()) strides = given.cast<Shape>();
    if (strides[0] % size || strides[1] % size || reinterpret_cast<std::uintptr_t>(a.data) % size) {
      throw py::value_error(std::string(name) + " must be aligned to its elements");
    }
    view = {static_cast<const T*>(a.data), strides[0] / size, strides[1] / size};
    if (rows == 0 || cols == 0) {
      extent = {name, a.data, 0};
      return;
    }
    if (device_of(a.data) != current_device()) {
      throw py::value_error(std::string(name) + " must be in the memory of the current device");
    }
    const Index down = (rows - 1) * view.row, across = (cols - 1) * view.col;
    const T* first = view.p + std::min<Index>(down, 0) + std::min<Index>(across, 0);
    const T* last = view.p + std::max<Index>(down, 0) + std::max<Index>(across, 0);
    extent = {name, first, static_cast<std::size_t>(last - first + 1) * sizeof(T)};
  }
};

void product(const py::object& a, const py::object& b, const py::object& bias, bool rectify,
             const py::object& out, const py::object& scratch, int version, std::uintptr_t stream) {
  by_device_dtype("a", a, [&](auto zero) {
    using T = decltype(zero);
    require_version(version, std::is_same_v<T, float> ? kMatmulVersions : kMatmulBest);
    DeviceArgs args;
    const MatrixArg<T> left("a", a), right("b", b);
    const Index M = left.rows, K = left.cols, N = right.cols;
    if (right.rows != K) {
      throw py::value_error("a (" + std::to_string(M) + ", " + std::to_string(K) + ") and b (" +
                            std::to_string(right.rows) + ", " + std::to_string(N) +
                            ") do not fit: the columns of a must be as many as the rows of b");
    }
    const T* columns = args.optional_input<T>("bias", bias, {N});
    T* result = args.output<T>("out", out, {M, N});
    require_disjoint({"out", result, static_cast<std::size_t>(M * N) * sizeof(T)},
                     {left.extent, right.extent});
    T* room = version >= kMatmulBest ? scratch_arg<T>(args, scratch, matmul_scratch(M, N, K)) : nullptr;
    matmul<T>(version, {M, N, K, left.view, right.view, columns, rectify, result}, room, stream_of(stream));
  });
}

}  // namespace

void bind_matmul(py::module_& module) {
  module.def("matmul", &product);
  module.def("matmul_scratch", &matmul_scratch, py::arg("M"), py::arg("N"), py::arg("K"),
             "Elements of scratch, of the product's dtype, that versions 4 and 5 need.");
}

}  // namespace minivae
