// Python binding of the matrix product on the CPU.
#include "bind/cpu/modules.h"
#include "bind/cpu/recorder.h"
#include "bind/matrix_args.h"
#include "cpu/table.h"

namespace minivae {
namespace {

template <class T>
MatrixArg<T> matrix(const char* name, const py::object& value) {
  const py::array a = any_array(name, value);
  require_dtype<T>(name, a);
  const Shape shape = shape_with(name, value, 2);
  return {name, a.data(), shape, Shape(a.strides(), a.strides() + 2)};
}

py::object matmul(const py::object& a, const py::object& b, const py::object& bias, bool rectify) {
  return by_dtype("a", a, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const MatrixArg<T> left = matrix<T>("a", a), right = matrix<T>("b", b);
    require_product(left, right);
    const Index M = left.rows, K = left.cols, N = right.cols;
    const T* columns = optional_input<T>("bias", bias, {N});
    py::array_t<T> product = result<T>({M, N});
    T* c = product.mutable_data();
    launch({a, b, bias, product}, [=, left = left.view, right = right.view] {
      kernels<T>().gemm(M, N, K, left, right, columns, rectify, c);
    });
    return product;
  });
}

}  // namespace

void bind_matmul(py::module_& module) {
  module.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("bias"), py::arg("rectify") = false);
}

}  // namespace minivae
