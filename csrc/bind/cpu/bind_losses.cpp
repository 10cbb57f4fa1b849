// Python bindings of the losses: losses over rows and the terms of the ELBO.
#include "bind/cpu/modules.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

// A loss over rows with its gradient in the same pass; `kernel` is a member of Kernels<T>.
template <class Member>
py::object row_loss(const py::object& logits, const py::object& target, bool with_grad, double scale,
                    Member kernel) {
  return by_dtype("logits", logits, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("logits", logits, 2);
    const T* l = input<T>("logits", logits, shape);
    const T* t = input<T>("target", target, shape);
    py::array_t<T> loss = result<T>({shape[0]});
    py::object dlogits = py::none();
    T *loss_data = loss.mutable_data(), *gradient = nullptr;
    if (with_grad) {
      py::array_t<T> fresh = result<T>(shape);
      gradient = fresh.mutable_data();
      dlogits = fresh;
    }
    const Index M = shape[1];
    over_rows({logits, target}, shape[0], M, [=](Index first, Index last) {
      kernel(kernels<T>())(l, t, loss_data, gradient, static_cast<T>(scale), M, first, last);
    });
    return py::make_tuple(loss, dlogits);
  });
}

py::object bce_with_logits(const py::object& logits, const py::object& target, bool with_grad, double scale) {
  return row_loss(logits, target, with_grad, scale, [](const auto& k) { return k.bce_with_logits; });
}

py::object squared_error_with_logits(const py::object& logits, const py::object& target, bool with_grad,
                                     double scale) {
  return row_loss(logits, target, with_grad, scale,
                  [](const auto& k) { return k.squared_error_with_logits; });
}

py::object negative_elbo(const py::object& rec, const py::object& kl, const py::object& beta) {
  return by_dtype("rec", rec, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const T* r = input<T>("rec", rec, {kAny});
    const T* k = input<T>("kl", kl, {kAny});
    const T* weight = input<T>("beta", beta, {});
    const Shape images = shape_with("rec", rec, 1), rows = shape_with("kl", kl, 1);
    require_means(images, rows);
    const Index R = images[0], K = rows[0];
    py::array_t<T> terms = result<T>({3}), share = result<T>({K});
    T *out = terms.mutable_data(), *shares = share.mutable_data();
    launch({rec, kl, beta}, [=] { kernels<T>().negative_elbo(r, R, k, K, *weight, out, shares); });
    return py::make_tuple(terms, share);
  });
}

}  // namespace

void bind_losses(py::module_& module) {
  module.def("bce_with_logits", &bce_with_logits);
  module.def("squared_error_with_logits", &squared_error_with_logits);
  module.def("negative_elbo", &negative_elbo);
}

}  // namespace minivae
