// Python bindings of the operations around a layer's product: batch normalisation, ReLU, sums over channels.
#include "bind/cpu/modules.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

py::object channel_sum(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("x", x, 3);
    const T* data = input<T>("x", x, shape);
    py::array_t<T> sums = result<T>({shape[1]});
    T* out = sums.mutable_data();
    over_channels({x}, shape, [=](Index N, Index C, Index L, Index first, Index last) {
      kernels<T>().channel_sum(data, out, N, C, L, first, last);
    });
    return std::move(sums);
  });
}

py::tuple batch_norm_forward(const py::object& x, const py::object& w, const py::object& b,
                             const py::object& mean, const py::object& var, double eps) {
  return by_dtype("x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = shape_with("x", x, 3);
    const Shape channels{shape[1]};
    const T* data = input<T>("x", x, shape);
    const T* scale = input<T>("w", w, channels);
    const T* shift = input<T>("b", b, channels);
    require_both_or_none(mean, var);
    const bool measure = mean.is_none();
    py::object means = mean, variances = var;
    if (measure) {
      means = result<T>(channels);
      variances = result<T>(channels);
    }
    T* m = const_cast<T*>(input<T>("mean", means, channels));
    T* v = const_cast<T*>(input<T>("var", variances, channels));
    py::array_t<T> y = result<T>(shape);
    T* out = y.mutable_data();
    over_channels(
        {x, w, b, means, variances}, shape, [=](Index N, Index C, Index L, Index first, Index last) {
          if (measure) kernels<T>().batch_statistics(data, m, v, N, C, L, first, last);
          kernels<T>().batch_norm_forward(data, scale, shift, m, v, T(eps), out, N, C, L, first, last);
        });
    return py::make_tuple(y, means, variances);
  });
}

void update_running(const py::object& mean, const py::object& var, Index count, double momentum,
                    const py::object& running_mean, const py::object& running_var) {
  by_dtype("mean", mean, [&](auto zero) {
    using T = decltype(zero);
    const Shape channels = shape_with("mean", mean, 1);
    const T* m = input<T>("mean", mean, channels);
    const T* v = input<T>("var", var, channels);
    T* rm = in_place<T>("running_mean", running_mean, channels);
    T* rv = in_place<T>("running_var", running_var, channels);
    require_at_least("count", 2, count);
    const double unbias = unbiasing_factor(count);
    launch({mean, var, running_mean, running_var},
           [=, C = channels[0]] { kernels<T>().update_running(m, v, T(momentum), T(unbias), rm, rv, C); });
  });
}

py::tuple batch_norm_backward(const py::object& x, const py::object& w, const py::object& mean,
                              const py::object& var, double eps, const py::object& dy, bool training) {
  return by_dtype("x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = shape_with("x", x, 3);
    const Shape channels{shape[1]};
    const T* data = input<T>("x", x, shape);
    const T* gradient = input<T>("dy", dy, shape);
    const T* scale = input<T>("w", w, channels);
    const T* m = input<T>("mean", mean, channels);
    const T* v = input<T>("var", var, channels);
    py::array_t<T> dx = result<T>(shape), dw = result<T>(channels), db = result<T>(channels);
    T *out_x = dx.mutable_data(), *out_w = dw.mutable_data(), *out_b = db.mutable_data();
    over_channels({x, w, mean, var, dy}, shape, [=](Index N, Index C, Index L, Index first, Index last) {
      kernels<T>().batch_norm_backward(data, scale, m, v, T(eps), gradient, training, out_x, out_w, out_b, N,
                                       C, L, first, last);
    });
    return py::make_tuple(dx, dw, db);
  });
}

py::object relu(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("x", x));
    const T* data = input<T>("x", x, shape);
    py::array_t<T> y = result<T>(shape);
    T* out = y.mutable_data();
    over_rows({x}, count(shape), 1,
              [=](Index begin, Index end) { kernels<T>().relu(data, out, begin, end); });
    return std::move(y);
  });
}

py::object relu_backward(const py::object& y, const py::object& dy) {
  return by_dtype("y", y, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("y", y));
    const T* data = input<T>("y", y, shape);
    const T* gradient = input<T>("dy", dy, shape);
    py::array_t<T> dx = result<T>(shape);
    T* out = dx.mutable_data();
    over_rows({y, dy}, count(shape), 1,
              [=](Index begin, Index end) { kernels<T>().relu_backward(data, gradient, out, begin, end); });
    return std::move(dx);
  });
}

py::tuple bias_relu_backward(const py::object& y, const py::object& dy) {
  return by_dtype("y", y, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = shape_with("y", y, 3);
    const T* data = input<T>("y", y, shape);
    const T* gradient = input<T>("dy", dy, shape);
    py::array_t<T> dx = result<T>(shape), db = result<T>({shape[1]});
    T *out_x = dx.mutable_data(), *out_b = db.mutable_data();
    over_channels({y, dy}, shape, [=](Index N, Index C, Index L, Index first, Index last) {
      kernels<T>().bias_relu_backward(data, gradient, out_x, out_b, N, C, L, first, last);
    });
    return py::make_tuple(dx, db);
  });
}

}  // namespace

void bind_layers(py::module_& module) {
  module.def("channel_sum", &channel_sum);
  module.def("batch_norm_forward", &batch_norm_forward);
  module.def("batch_norm_backward", &batch_norm_backward);
  module.def("update_running", &update_running);
  module.def("relu", &relu);
  module.def("relu_backward", &relu_backward);
  module.def("bias_relu_backward", &bias_relu_backward);
}

}  // namespace minivae
