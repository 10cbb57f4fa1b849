// The elementary functions alone, for their tests.
template <class T>
void elementary(Elementary function, const T* MV_RESTRICT x, T* MV_RESTRICT y, Index begin, Index end) {
  switch (function) {
    case Elementary::kExp:
      for (Index i = begin; i < end; ++i) y[i] = exponential(x[i]);
      break;
    case Elementary::kExpm1:
      for (Index i = begin; i < end; ++i) y[i] = exponential_minus_1(x[i]);
      break;
    case Elementary::kLog:
      for (Index i = begin; i < end; ++i) y[i] = logarithm(x[i]);
      break;
    case Elementary::kLog1p:
      for (Index i = begin; i < end; ++i) y[i] = logarithm_1p(x[i]);
      break;
    case Elementary::kExpOfNegative:
      for (Index i = begin; i < end; ++i) y[i] = exponential_of_negative(x[i]);
      break;
    case Elementary::kExpHalf:
      for (Index i = begin; i < end; ++i) {
        T unused;
        exponential_by_half(x[i], y[i], unused);
      }
      break;
    case Elementary::kExpm1ByHalf:
      for (Index i = begin; i < end; ++i) {
        T unused;
        exponential_by_half(x[i], unused, y[i]);
      }
      break;
    case Elementary::kFastExpHalf:
      for (Index i = begin; i < end; ++i) {
        T unused;
        fast_exponential_by_half(x[i], y[i], unused);
      }
      break;
    case Elementary::kFastExpm1ByHalf:
      for (Index i = begin; i < end; ++i) {
        T unused;
        fast_exponential_by_half(x[i], unused, y[i]);
      }
      break;
    case Elementary::kLog1pOfFraction:
      for (Index i = begin; i < end; ++i) y[i] = logarithm_1p_of_fraction(x[i]);
      break;
  }
}

// Box-Muller on pairs of words: (count, 2) words to (count, 2) normal numbers.
template <class T>
void box_muller_pairs(const std::uint32_t* MV_RESTRICT words, T* MV_RESTRICT out, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) {
    T n0, n1;
    box_muller(words[2 * i], words[2 * i + 1], n0, n1);
    out[2 * i] = n0;
    out[2 * i + 1] = n1;
  }
}

template <class T>
void fast_box_muller_pairs(const std::uint32_t* MV_RESTRICT words, T* MV_RESTRICT out, Index begin,
                           Index end) {
  for (Index i = begin; i < end; ++i)
    fast_box_muller(words[2 * i], words[2 * i + 1], out[2 * i], out[2 * i + 1]);
}
