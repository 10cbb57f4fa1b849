// Python bindings of the kernels that work element by element or row by row. Arguments are those of
// minivae.kernels.reference; minivae/kernels/cpu.py states them.
#include <utility>
#include <vector>

#include "bind/cpu/modules.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

NoiseKey noise_key(const py::object& noise) {
  try {
    const auto [seed, offset, first] = noise.cast<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>();
    return {seed, offset, first};
  } catch (const py::cast_error&) {
    throw py::type_error(expected(
        "noise", "a NumPy array or three integers (seed, offset, first) in [0, 2^64)", py::repr(noise)));
  }
}

// Noise is an array of the given shape, or (seed, offset, first): then eps is null and key() gives the stream. A
// fourth member, an array of one number, is added to the offset when the kernel runs.
template <class T>
struct NoiseArg {
  const T* eps = nullptr;
  NoiseKey base{};
  py::object array = py::none();  // of the numbers or of the counter

  NoiseArg(const py::object& noise, const Shape& shape) {
    if (py::isinstance<py::array>(noise)) {
      array = noise;
      eps = input<T>("noise", noise, shape);
    } else if (py::isinstance<py::tuple>(noise) && py::len(noise) == 4 &&
               py::isinstance<py::array>(py::tuple(noise)[3])) {
      const py::tuple parts = noise;
      base = noise_key(py::make_tuple(parts[0], parts[1], parts[2]));
      array = parts[3];
    } else {
      base = noise_key(noise);
    }
  }
  auto key() const {
    const bool counted = !eps && !array.is_none();
    const std::uint64_t* moved = counted ? input<std::uint64_t>("counter", array, {1}) : nullptr;
    return
        [base = base, moved] { return NoiseKey{base.seed, base.offset + (moved ? *moved : 0), base.first}; };
  }
};

// Fills an array that the caller has just allocated with NumPy, which has checked shape and dtype.
template <class Fill>
void fill(const py::object& out, Fill fill_range) {
  const Shape shape = shape_of(any_array("out", out));
  by_dtype("dtype", out, [&](auto zero) {
    using T = decltype(zero);
    T* data = in_place<T>("out", out, shape);
    over_rows({out}, count(shape), 1, [=](Index begin, Index end) { fill_range(data, begin, end); });
  });
}

void uniform(const py::object& out, const py::object& noise) {
  const NoiseKey key = noise_key(noise);
  fill(out, [=](auto* data, Index begin, Index end) {
    kernels<std::decay_t<decltype(*data)>>().uniform(key, data, begin, end);
  });
}

void normal(const py::object& out, const py::object& noise) {
  const NoiseKey key = noise_key(noise);
  fill(out, [=](auto* data, Index begin, Index end) {
    kernels<std::decay_t<decltype(*data)>>().normal(key, data, begin, end);
  });
}

py::object reparam_kl_forward(const py::object& mu, const py::object& logvar, const py::object& noise) {
  return by_dtype("mu", mu, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("mu", mu, 2);
    const T* m = input<T>("mu", mu, shape);
    const T* l = input<T>("logvar", logvar, shape);
    const NoiseArg<T> n(noise, shape);
    py::array_t<T> z = result<T>(shape), kl = result<T>({shape[0]});
    T *z_data = z.mutable_data(), *kl_data = kl.mutable_data();
    const Index D = shape[1];
    over_rows({mu, logvar, n.array}, shape[0], D, [=, eps = n.eps, key = n.key()](Index first, Index last) {
      kernels<T>().reparam_kl_forward(m, l, eps, key(), z_data, kl_data, D, first, last);
    });
    return py::make_tuple(z, kl);
  });
}

py::object reparam_kl_backward(const py::object& mu, const py::object& logvar, const py::object& noise,
                               const py::object& dz, const py::object& dkl) {
  return by_dtype("mu", mu, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("mu", mu, 2);
    const T* m = input<T>("mu", mu, shape);
    const T* l = input<T>("logvar", logvar, shape);
    const NoiseArg<T> n(noise, shape);
    const T* gz = input<T>("dz", dz, shape);
    const T* gk = input<T>("dkl", dkl, {shape[0]});
    py::array_t<T> dmu = result<T>(shape), dlogvar = result<T>(shape);
    T *gm = dmu.mutable_data(), *gl = dlogvar.mutable_data();
    const Index D = shape[1];
    over_rows({mu, logvar, n.array, dz, dkl}, shape[0], D,
              [=, eps = n.eps, key = n.key()](Index first, Index last) {
                kernels<T>().reparam_kl_backward(m, l, eps, key(), gz, gk, gm, gl, D, first, last);
              });
    return py::make_tuple(dmu, dlogvar);
  });
}

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

// One parameter with its gradient and moments.
template <class T>
struct AdamArrays {
  T* p;
  const T* g;
  T *m, *v;
  Index count;
};

template <class T>
AdamArrays<T> adam_arrays(const py::object& param, const py::object& grad, const py::object& m,
                          const py::object& v) {
  const Shape shape = shape_of(any_array("param", param));
  const AdamArrays<T> a{in_place<T>("param", param, shape), input<T>("grad", grad, shape),
                        in_place<T>("m", m, shape), in_place<T>("v", v, shape), count(shape)};
  const std::size_t bytes = static_cast<std::size_t>(a.count) * sizeof(T);
  require_disjoint({"param", a.p, bytes}, {{"grad", a.g, bytes}, {"m", a.m, bytes}, {"v", a.v, bytes}});
  require_disjoint({"m", a.m, bytes}, {{"grad", a.g, bytes}, {"v", a.v, bytes}});
  require_disjoint({"v", a.v, bytes}, {{"grad", a.g, bytes}});
  return a;
}

double number(const char* name, const py::object& value) {
  try {
    return value.cast<double>();
  } catch (const py::cast_error&) {
    throw py::type_error(expected(name, "a number or an array of one", py::repr(value)));
  }
}

// Every parameter is checked before the first one changes. `lr` is a number or an array of one; the number in the
// array `counter`, if there is one, is added to the step. Both are read when the kernel runs.
void adam(const py::sequence& params, const py::sequence& grads, const py::sequence& ms,
          const py::sequence& vs, Index step, const py::object& lr, double beta1, double beta2, double eps,
          double weight_decay, const py::object& counter) {
  const py::tuple p(params), g(grads), m(ms), v(vs);  // copies, because the lists may change meanwhile
  require_one_length(p, g, m, v);
  if (p.empty()) return;
  const bool told = py::isinstance<py::array>(lr);
  const double* rate_now = told ? input<double>("lr", lr, {1}) : nullptr;
  const double rate = told ? 0 : number("lr", lr);
  const std::uint64_t* moved = counter.is_none() ? nullptr : input<std::uint64_t>("counter", counter, {1});
  by_dtype("param", p[0], [&](auto zero) {
    using T = decltype(zero);
    std::vector<AdamArrays<T>> all;
    std::vector<py::object> arrays{counter};
    if (told) arrays.push_back(lr);
    for (std::size_t i = 0; i < p.size(); ++i) {
      all.push_back(adam_arrays<T>(p[i], g[i], m[i], v[i]));
      arrays.insert(arrays.end(), {p[i], g[i], m[i], v[i]});
    }
    const AdamSettings settings{beta1, beta2, eps, weight_decay};
    launch(arrays, [=, all = std::move(all)] {
      const double t = static_cast<double>(step) + (moved ? static_cast<double>(*moved) : 0);
      const AdamFactors<T> factors = adam_factors<T>(t, rate_now ? *rate_now : rate, settings);
      for (const AdamArrays<T>& a : all) {
        parallel_for(a.count, kGrain, [&](Index begin, Index end) {
          kernels<T>().adam(a.p, a.g, a.m, a.v, factors, begin, end);
        });
      }
    });
  });
}

py::object add(const py::object& a, const py::object& b) {
  return by_dtype("a", a, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("a", a));
    const T *left = input<T>("a", a, shape), *right = input<T>("b", b, shape);
    py::array_t<T> y = result<T>(shape);
    T* sum = y.mutable_data();
    over_rows({a, b}, count(shape), 1,
              [=](Index begin, Index end) { kernels<T>().add(left, right, sum, begin, end); });
    return std::move(y);
  });
}

void scale_rows(const py::object& x, const py::object& factors) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = shape_with("x", x, 2);
    T* rows = in_place<T>("x", x, shape);
    const T* by = input<T>("factors", factors, {shape[0]});
    const Index M = shape[1];
    over_rows({x, factors}, shape[0], M,
              [=](Index first, Index last) { kernels<T>().scale_rows(rows, by, M, first, last); });
  });
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

py::object gather_pixels(const py::object& images, const py::object& index, const py::object& dtype,
                         const py::object& noise) {
  const py::array all = array_arg<std::uint8_t>("images", images);
  if (all.ndim() == 0) throw py::value_error(expected("images", "shape (N, ...)", "()"));
  const std::int64_t* rows = input<std::int64_t>("index", index, {kAny});
  const Index batch = any_array("index", index).size();
  for (Index i = 0; i < batch; ++i) {
    if (rows[i] < 0 || rows[i] >= all.shape(0)) {
      throw py::index_error(
          expected("index", "numbers in [0, " + std::to_string(all.shape(0)) + ")", std::to_string(rows[i])));
    }
  }
  Shape shape = shape_of(all);
  shape[0] = batch;
  const Index size = count(Shape(shape.begin() + 1, shape.end()));
  const bool draw = !noise.is_none();
  const NoiseKey key = draw ? noise_key(noise) : NoiseKey{};
  const auto* pixels = static_cast<const std::uint8_t*>(all.data());
  return by_dtype("dtype", py::array(py::dtype::from_args(dtype), 0), [&](auto zero) -> py::object {
    using T = decltype(zero);
    py::array_t<T> out = result<T>(shape);
    T* to = out.mutable_data();
    over_rows({images, index}, batch, size, [=](Index first, Index last) {
      kernels<T>().gather_pixels(pixels, rows, draw, key, to, size, first, last);
    });
    return std::move(out);
  });
}

template <Elementary function>
py::object elementary(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("x", x));
    const T* data = input<T>("x", x, shape);
    py::array_t<T> y = result<T>(shape);
    kernels<T>().elementary(function, data, y.mutable_data(), 0, count(shape));
    return std::move(y);
  });
}

// Words (K, 2) to normal numbers out (K, 2).
template <bool kFast>
void box_muller_pairs(const py::object& words, const py::object& out) {
  const std::uint32_t* w = input<std::uint32_t>("words", words, {kAny, 2});
  const Shape shape = shape_of(any_array("words", words));
  by_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const auto pairs = kFast ? kernels<T>().fast_box_muller_pairs : kernels<T>().box_muller_pairs;
    pairs(w, in_place<T>("out", out, shape), 0, shape[0]);
  });
}

py::tuple noise_block(std::uint64_t seed, std::uint64_t offset, std::uint64_t block) {
  const Words4 w = noise_words({seed, offset}, block);
  return py::make_tuple(w.w0, w.w1, w.w2, w.w3);
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("uniform", &uniform);
  module.def("normal", &normal);
  module.def("reparam_kl_forward", &reparam_kl_forward);
  module.def("reparam_kl_backward", &reparam_kl_backward);
  module.def("bce_with_logits", &bce_with_logits);
  module.def("squared_error_with_logits", &squared_error_with_logits);
  module.def("adam", &adam);
  module.def("gather_pixels", &gather_pixels);
  module.def("add", &add);
  module.def("scale_rows", &scale_rows);
  module.def("negative_elbo", &negative_elbo);

  py::module_ tests = module.def_submodule("elementary", "Parts of csrc/math alone, for tests.");
  tests.def("exp", &elementary<Elementary::kExp>);
  tests.def("expm1", &elementary<Elementary::kExpm1>);
  tests.def("log", &elementary<Elementary::kLog>);
  tests.def("log1p", &elementary<Elementary::kLog1p>);
  tests.def("exp_of_negative", &elementary<Elementary::kExpOfNegative>);
  tests.def("exp_half", &elementary<Elementary::kExpHalf>);
  tests.def("expm1_by_half", &elementary<Elementary::kExpm1ByHalf>);
  tests.def("fast_exp_half", &elementary<Elementary::kFastExpHalf>);
  tests.def("fast_expm1_by_half", &elementary<Elementary::kFastExpm1ByHalf>);
  tests.def("log1p_of_fraction", &elementary<Elementary::kLog1pOfFraction>);
  tests.def("box_muller", &box_muller_pairs<false>);
  tests.def("fast_box_muller", &box_muller_pairs<true>);
  tests.def("noise_block", &noise_block);
}

}  // namespace minivae
