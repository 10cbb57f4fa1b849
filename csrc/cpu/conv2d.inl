// Convolution and its two adjoints, on images (N, C, H, W), as implicit matrix products: the matrix of all
// patches is never written. The input is split into phases (conv_geometry.h), so that a tap is a shift, and
// the phases of a block of images are laid out as
//
//   planes[channel][phase of rows][phase of columns][row][image][column]
//
// with zeros where the padding is. Then all outputs of one channel lie along one long line, rows of all
// images one after the other; the patch element (c, kh, kw) of every output is that line shifted by a fixed
// distance; and rows of the patch matrix are read in place by the tiles of gemm_tile.inl. The line also
// passes the few columns between two images' rows: those results are dropped.
//
//   conv2d               y  = W x patches of x      W (O, C KH KW)
//   conv2d_grad_input    dx = for each phase of x, the weights of the taps that meet it x patches of dy
//   conv2d_grad_weight   dW = dy x patches of x, transposed: dot products along the line
//
// A block's planes and results stay in L2. Blocks of images or rows are the unit of threading.

MV_INLINE Index round_up(Index n, Index step) {
  return ceil_div(n, step) * step;
}

// The size of a plane of `size` elements: the next one is aligned to a vector, and the last row may be written
// in whole vectors.
template <class T>
MV_INLINE Index plane_size(Index size) {
  return round_up(size + kVectorLanes<T>, kVectorLanes<T>);
}

// The first `count` lanes, or all.
template <class T>
MV_INLINE void write_vector(T* p, Vec<T> v, Index count) {
  if (count >= kVectorLanes<T>)
    store(p, v);
  else if (count > 0)
    store_lanes(p, v, first_lanes<T>(count));
}

// Adds the bias to a channel's finished sums and applies ReLU if asked to.
template <class T>
struct BiasAndRelu {
  T bias;
  bool rectify;
  MV_INLINE Vec<T> operator()(Vec<T> sum) const {
    sum = sum + splat(bias);
    return rectify ? rectified<T>(sum) : sum;
  }
  MV_INLINE T operator()(T sum) const { return rectify ? relu_of(sum + bias) : sum + bias; }
};

// dst[i] = src[first + i * step] for i < count, or 0 where that index lies outside [0, size).
template <class T>
void sample_row(const T* src, Index size, Index first, Index step, Index count, T* dst) {
  for (Index i = 0; i < count; ++i) {
    const Index from = first + i * step;
    dst[i] = from >= 0 && from < size ? src[from] : T(0);
  }
}

// The same for step 1 from src on, and for step 2 from src on and from src + 1 on, a vector at a time. `inside`
// masks, for each vector read, what lies in the row. What is written ends with a whole vector: rows are
// written in the order of their addresses, so that the next one overwrites the excess.
template <class T>
MV_INLINE void copy_row(const T* src, const Mask<T>* inside, Index count, Index ahead, T* dst) {
  constexpr int L = kVectorLanes<T>;
  for (Index i = 0; i < count; i += L) {
    fetch_ahead(src + i + ahead);
    store(dst + i, load_lanes(src + i, *inside++));
  }
}
template <class T>
MV_INLINE void split_row(const T* src, const Mask<T>* inside, Index count, Index ahead, T* even, T* odd) {
  constexpr int L = kVectorLanes<T>;
  for (Index i = 0; i < count; i += L, src += 2 * L, inside += 2) {
    fetch_ahead(src + ahead);
    fetch_ahead(src + L + ahead);
    const Vec<T> a = load_lanes(src, inside[0]), b = load_lanes(src + L, inside[1]);
    store(even + i, every_other<0, T>(a, b));
    store(odd + i, every_other<1, T>(a, b));
  }
}

// The planes of `images` images (channels, h.size, w.size), `plane` elements apart; zeros fill the rest.
template <class T>
void fill_planes(const T* x, Index images, Index channels, const Phases& h, const Phases& w, Index plane,
                 T* planes) {
  constexpr Index L = kVectorLanes<T>;
  const Index phases_w = Index(w.start.size()), vectors = ceil_div(w.count, L) * w.step;
  const Index ahead = h.size * w.size;
  const bool copy = w.step == 1, split = w.step == 2 && phases_w == 2 && w.start[1] == w.start[0] + 1;
  auto* inside = scratch<Mask<T>>(Scratch::kMasks, vectors);
  for (Index u = 0; u < vectors; ++u) {
    const Index from = w.start[0] + u * L, before = from < 0 ? min_index(-from, L) : 0;
    const Index upto = from < w.size ? min_index(w.size - from, L) : 0;
    inside[u] = first_lanes<T>(upto) & ~first_lanes<T>(before);
  }
  for (Index c = 0; c < channels; ++c) {
    for (Index i = 0; i < h.count; ++i) {
      T* phase = planes;
      for (Index start_h : h.start) {  // inside the loop over i: neighbouring rows are read together
        const Index row = start_h + i * h.step;
        const T* line = x + (c * h.size + row) * w.size;
        T* dst = phase + i * images * w.count;
        for (Index n = 0; n < images; ++n, line += channels * h.size * w.size, dst += w.count) {
          if (row < 0 || row >= h.size) {
            for (Index p = 0; p < phases_w; ++p) sample_row(line, 0, 0, 1, w.count, dst + p * plane);
          } else if (copy) {
            copy_row(line + w.start[0], inside, w.count, ahead, dst);
          } else if (split) {
            split_row(line + w.start[0], inside, w.count, ahead, dst, dst + plane);
          } else {
            for (Index p = 0; p < phases_w; ++p) {
              sample_row(line, w.size, w.start[p], w.step, w.count, dst + p * plane);
            }
          }
        }
        phase += phases_w * plane;
      }
    }
    for (Index p = 0; p < Index(h.start.size()) * phases_w; ++p, planes += plane) {
      for (Index j = h.count * images * w.count; j < plane; ++j) planes[j] = 0;
    }
  }
}

// The number of rows of weights, including those that pad the last tile, and the space of their panels.
MV_INLINE Index padded_rows(Index rows) {
  return round_up(rows, kTileStep);
}

// sums[r][j] = sum over k < depth of weight (r, k) * line[offset[k] + j] for j < length, rows ld apart.
template <class T>
void correlate(const T* panels, Index rows, Index depth, const T* line, const Index* offset, Index length,
               T* sums, Index ld) {
  constexpr Index W = kTileCols<T>;
  for (Index j = 0; j < length; j += W) {
    for (Index r = 0, height; r < rows; r += height) {
      height = tile_height(tile_rows(rows - r));
      fitting_tile(depth, panels + r * depth, ListedRows<T>{line + j, offset}, Output<T>{sums, ld}, r, j,
                   height, W, false);
    }
  }
}

// offset[k]: how far the line of tap k = (c, kh, kw) lies from the first plane.
inline void tap_offsets(const ConvTaps& h, const ConvTaps& w, Index channels, Index plane, Index row,
                        Index* offset) {
  const Index phases_w = Index(w.remainder.size()), phases = Index(h.remainder.size()) * phases_w;
  for (Index c = 0; c < channels; ++c) {
    for (std::size_t kh = 0; kh < h.phase.size(); ++kh) {
      for (std::size_t kw = 0; kw < w.phase.size(); ++kw) {
        const Index number = c * phases + h.phase[kh] * phases_w + w.phase[kw];
        *offset++ = number * plane + h.shift[kh] * row + w.shift[kw];
      }
    }
  }
}

template <class T>
void conv2d(const ConvShape& shape, const T* x, const T* w, const T* b, bool rectify, T* y) {
  constexpr Index L = kVectorLanes<T>;
  const Index N = shape.N, C = shape.C, O = shape.O;
  const ConvAxis &h = shape.h, &v = shape.w;
  if (N * O * h.output * v.output == 0) return;
  const ConvTaps taps_h = conv_taps(h), taps_w = conv_taps(v);
  const Index phases = Index(taps_h.remainder.size() * taps_w.remainder.size());
  const Index depth = C * h.kernel * v.kernel, pitch = v.output + taps_w.reach;
  T* panels = scratch<T>(Scratch::kPackedA, padded_rows(O) * depth + kVectorLanes<T>);
  pack_rows(Matrix<T>{w, depth, 1}, 0, O, 0, depth, panels);

  const Index row_bytes = (C * phases + padded_rows(O)) * pitch * Index(sizeof(T));
  const ConvBlock block = conv_block(N, h.output, row_bytes, threads());
  const Index row_blocks = ceil_div(h.output, block.rows);
  parallel_for(ceil_div(N, block.images) * row_blocks, 1, [&](Index begin, Index end) {
    for (Index task = begin; task < end; ++task) {
      const Index n0 = task / row_blocks * block.images, images = min_index(block.images, N - n0);
      const Index o0 = task % row_blocks * block.rows, rows = min_index(block.rows, h.output - o0);
      const Index step = images * pitch, length = rows * step;
      const Index plane = plane_size<T>((rows + taps_h.reach) * step);
      T* planes = scratch<T>(Scratch::kPlanes, C * phases * plane + pitch + kTileCols<T>);
      fill_planes(x + n0 * C * h.input * v.input, images, C, taps_h.inputs(h, o0, rows),
                  taps_w.inputs(v, 0, v.output), plane, planes);
      Index* offset = scratch<Index>(Scratch::kOffsets, depth);
      tap_offsets(taps_h, taps_w, C, plane, step, offset);
      const Index ld = round_up(length, kTileCols<T>);
      T* sums = scratch<T>(Scratch::kTile, padded_rows(O) * ld + kVectorLanes<T>);
      correlate(panels, O, depth, planes, offset, length, sums, ld);
      for (Index n = 0; n < images; ++n) {
        for (Index o = 0; o < O; ++o) {
          const BiasAndRelu<T> finish{b ? b[o] : T(0), rectify};
          T* dst = y + (((n0 + n) * O + o) * h.output + o0) * v.output;
          for (Index i = 0; i < rows; ++i, dst += v.output) {
            const T* src = sums + o * ld + i * step + n * pitch;
            for (Index j = 0; j < v.output; j += L)
              write_vector(dst + j, finish(load(src + j)), v.output - j);
          }
        }
      }
    }
  });
}
