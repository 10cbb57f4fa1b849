// Python bindings of the losses on a GPU: losses over rows, the terms of the ELBO, log-mean-exp.
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/log_mean_exp.h"
#include "cuda/negative_elbo.h"
#include "cuda/row_loss.h"

namespace minivae {
namespace {

// `kernel` is called with the arguments of one of the two losses.
template <class Kernel>
void row_loss(const py::object& logits, const py::object& target, const py::object& loss,
              const py::object& dlogits, double scale, const py::object& scratch, std::uintptr_t stream,
              Kernel kernel) {
  by_device_dtype("logits", logits, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("logits", logits, 2);
    DeviceArgs args;
    const T* l = args.input<T>("logits", logits, shape);
    const T* t = args.input<T>("target", target, shape);
    T* sums = args.output<T>("loss", loss, {shape[0]});
    T* gradient = args.optional_output<T>("dlogits", dlogits, shape);
    double* room = scratch_arg(args, scratch, row_loss_scratch(shape[0], shape[1]));
    kernel(l, t, sums, gradient, static_cast<T>(scale), room, shape[0], shape[1], stream_of(stream));
  });
}

void bce(const py::object& logits, const py::object& target, const py::object& loss,
         const py::object& dlogits, double scale, const py::object& scratch, std::uintptr_t stream) {
  row_loss(logits, target, loss, dlogits, scale, scratch, stream, [](auto... a) { bce_with_logits(a...); });
}

void squared_error(const py::object& logits, const py::object& target, const py::object& loss,
                   const py::object& dlogits, double scale, const py::object& scratch,
                   std::uintptr_t stream) {
  row_loss(logits, target, loss, dlogits, scale, scratch, stream,
           [](auto... a) { squared_error_with_logits(a...); });
}

void elbo_terms(const py::object& rec, const py::object& kl, const py::object& beta, const py::object& terms,
                const py::object& share, std::uintptr_t stream) {
  by_device_dtype("rec", rec, [&](auto zero) {
    using T = decltype(zero);
    const Shape images = device_shape("rec", rec, 1), rows = device_shape("kl", kl, 1);
    require_means(images, rows);
    DeviceArgs args;
    const T* r = args.input<T>("rec", rec, images);
    const T* k = args.input<T>("kl", kl, rows);
    const T* weight = one_element<T>(args, "beta", beta);
    T* out = args.output<T>("terms", terms, {3});
    T* shares = args.output<T>("share", share, rows);
    negative_elbo(r, images[0], k, rows[0], weight, out, shares, stream_of(stream));
  });
}

void row_log_mean_exp(const py::object& x, const py::object& y, const py::object& weights,
                      std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 2);
    if (shape[1] < 1) throw py::value_error(expected("x", "at least one column", "shape " + to_text(shape)));
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    T* out = args.output<T>("y", y, {shape[0]});
    T* w = args.optional_output<T>("weights", weights, shape);
    log_mean_exp(in, out, w, shape[0], shape[1], stream_of(stream));
  });
}

}  // namespace

void bind_losses(py::module_& module) {
  module.def("bce_with_logits", &bce);
  module.def("squared_error_with_logits", &squared_error);
  module.def("row_loss_scratch", &row_loss_scratch, py::arg("rows"), py::arg("columns"),
             "float64 elements of scratch that a loss over rows needs.");
  module.def("negative_elbo", &elbo_terms);
  module.def("log_mean_exp", &row_log_mean_exp);
}

}  // namespace minivae
