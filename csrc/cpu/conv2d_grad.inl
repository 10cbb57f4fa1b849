// The two adjoints of the convolution, in the input and in the weights, with the layout of conv2d.inl.

// Some columns of a row of x, every stride-th: where their sums lie, and how many there are.
template <class T>
struct PhaseSums {
  const T* sums;
  Index count;
};

// dst[i * stride + r] = phase r's sum at `from` + i, finished, for all columns of the row.
template <class T>
MV_INLINE void interleave(const PhaseSums<T>* phase, Index stride, Index from, const BiasAndRelu<T>& finish,
                          Index columns, T* dst) {
  constexpr Index L = kVectorLanes<T>;
  if (stride == 1) {
    const T* sums = phase[0].sums + from;
    for (Index i = 0; i < columns; i += L) write_vector(dst + i, finish(load(sums + i)), columns - i);
  } else if (stride == 2) {
    const T *even = phase[0].sums + from, *odd = phase[1].sums + from;
    for (Index i = 0; 2 * i < columns; i += L) {
      const Vec<T> a = finish(load(even + i)), b = finish(load(odd + i));
      write_vector(dst + 2 * i, zip_low<T>(a, b), columns - 2 * i);
      write_vector(dst + 2 * i + L, zip_high<T>(a, b), columns - 2 * i - L);
    }
  } else {
    for (Index r = 0; r < stride; ++r) {
      const T* sums = phase[r].sums + from;
      for (Index i = 0; i < phase[r].count; ++i) dst[i * stride + r] = finish(sums[i]);
    }
  }
}

// The outputs [first, last) of a dimension whose tap k lies inside the input.
inline void outputs_inside(const ConvAxis& axis, Index k, Index* first, Index* last) {
  const Index from = k * axis.dilation - axis.padding, past = axis.input - from;  // inputs o * stride + from
  *first = from < 0 ? ceil_div(-from, axis.stride) : 0;
  *last = past > 0 ? min_index(axis.output, ceil_div(past, axis.stride)) : 0;
}

// dst[j] += src[j] for j < count
template <class T>
MV_INLINE void add_row(const T* src, Index count, T* dst) {
  constexpr Index L = kVectorLanes<T>;
  Index j = 0;
  for (; j + L <= count; j += L) store(dst + j, load(dst + j) + load(src + j));
  if (j < count) {
    const Mask<T> rest = first_lanes<T>(count - j);
    store_lanes(dst + j, load_lanes(dst + j, rest) + load_lanes(src + j, rest), rest);
  }
}

// For few channels, which would leave a tile's rows empty: of each image the products of all taps with dy,
// W^T dy (C KH KW, outputs), whose rows are then added where they belong. Columns have stride 1.
template <class T>
void conv2d_grad_input_by_taps(const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify,
                               T* dx) {
  const ConvAxis &h = shape.h, &v = shape.w;
  const Index C = shape.C, O = shape.O, taps = C * h.kernel * v.kernel, outputs = h.output * v.output;
  const Matrix<T> weights{w, 1, taps};
  parallel_for(shape.N, 1, [&](Index begin, Index end) {
    T* products = scratch<T>(Scratch::kTile, taps * outputs);
    for (Index n = begin; n < end; ++n) {
      const Matrix<T> image{dy + n * O * outputs, outputs, 1};
      gemm_rectangle(plan_gemm(taps, outputs, O, weights, image), weights, image, O,
                     Output<T>{products, outputs}, 0, taps, 0, outputs);
      const T* product = products;
      for (Index c = 0; c < C; ++c) {
        T* x = dx + (n * C + c) * h.input * v.input;
        for (Index i = 0; i < h.input * v.input; ++i) x[i] = b ? b[c] : T(0);
        for (Index k = 0; k < h.kernel * v.kernel; ++k, product += outputs) {
          const Index kh = k / v.kernel, kw = k % v.kernel;
          Index i0, i1, j0, j1;
          outputs_inside(h, kh, &i0, &i1);
          outputs_inside(v, kw, &j0, &j1);
          for (Index i = i0; i < i1; ++i) {
            const Index row = i * h.stride + kh * h.dilation - h.padding;
            add_row(product + i * v.output + j0, j1 - j0,
                    x + row * v.input + j0 + kw * v.dilation - v.padding);
          }
        }
        if (rectify) {
          for (Index i = 0; i < h.input * v.input; ++i) x[i] = relu_of(x[i]);
        }
      }
    }
  });
}

// The weights (C, O taps) of every phase of x as panels, one phase of rows after the other.
template <class T>
std::vector<const T*> pack_phases(const ConvShape& shape, const AdjointTaps& taps_h,
                                  const AdjointTaps& taps_w, const T* w) {
  const Index C = shape.C, O = shape.O, KH = shape.h.kernel, KW = shape.w.kernel, rows_c = padded_rows(C);
  T* panel = scratch<T>(Scratch::kPackedA, rows_c * O * KH * KW + kVectorLanes<T>);
  T* gathered = scratch<T>(Scratch::kPartial, C * O * KH * KW);
  std::vector<const T*> panels;
  for (const AdjointPhase& in_h : taps_h.phase) {
    for (const AdjointPhase& in_w : taps_w.phase) {
      const Index depth = O * Index(in_h.tap.size() * in_w.tap.size());
      T* p = gathered;
      for (Index c = 0; c < C; ++c) {
        for (Index o = 0; o < O; ++o) {
          for (Index kh : in_h.tap) {
            for (Index kw : in_w.tap) *p++ = w[((o * C + c) * KH + kh) * KW + kw];
          }
        }
      }
      pack_rows(Matrix<T>{gathered, depth, 1}, 0, C, 0, depth, panel);
      panels.push_back(panel);
      panel += rows_c * depth;
    }
  }
  return panels;
}

// The rows [i0, i1) of each phase of x, of some images, which one thread computes: from the planes of dy, whose
// first row of outputs is i0 - reach.
template <class T>
struct GradInputBlock {
  Index n0, images, i0, i1;
  Index pitch, step;  // elements of a line from an image, and from a row, to the next
  const T* planes;
  Index plane, ld;  // elements from a plane, and from a channel's sums, to the next
  T* sums;
};

// The sums of rows [first, last) of the phase in_h of rows: `phases` tells where those of each phase of columns
// lie, that of column 0 first.
template <class T>
void phase_products(const ConvShape& shape, const AdjointTaps& taps_h, const AdjointTaps& taps_w,
                    const AdjointPhase& in_h, Index first, Index last, const T* const* panels,
                    const GradInputBlock<T>& block, PhaseSums<T>* phases) {
  const Index C = shape.C, O = shape.O, stride = shape.w.stride;
  Index* offset = scratch<Index>(Scratch::kOffsets, O * shape.h.kernel * shape.w.kernel);
  for (Index rw = 0; rw < stride; ++rw) {
    const AdjointPhase& in_w = taps_w.phase[rw];
    T* sums = block.sums + rw * padded_rows(C) * block.ld;
    Index k = 0;
    for (Index o = 0; o < O; ++o) {
      for (Index shift_h : in_h.shift) {
        for (Index shift_w : in_w.shift) {
          offset[k++] = o * block.plane + (first - shift_h - (block.i0 - taps_h.reach)) * block.step +
                        in_w.first - shift_w - taps_w.reads_first;
        }
      }
    }
    correlate(panels[rw], C, k, block.planes, offset, (last - first) * block.step, sums, block.ld);
    phases[in_w.first * stride + rw - shape.w.padding] = {sums, in_w.last - in_w.first};
  }
}

// Writes the rows of x whose sums these are.
template <class T>
void write_phases(const ConvShape& shape, Index rh, Index first, Index last, const PhaseSums<T>* phases,
                  const GradInputBlock<T>& block, const T* b, bool rectify, T* dx) {
  const ConvAxis &h = shape.h, &v = shape.w;
  for (Index n = 0; n < block.images; ++n) {
    for (Index c = 0; c < shape.C; ++c) {
      const BiasAndRelu<T> finish{b ? b[c] : T(0), rectify};
      for (Index i = first; i < last; ++i) {
        T* dst = dx + (((block.n0 + n) * shape.C + c) * h.input + i * h.stride + rh - h.padding) * v.input;
        const Index from = c * block.ld + (i - first) * block.step + n * block.pitch;
        interleave(phases, v.stride, from, finish, v.input, dst);
      }
    }
  }
}

template <class T>
void conv2d_grad_input(const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify, T* dx) {
  const Index N = shape.N, C = shape.C, O = shape.O;
  const ConvAxis &h = shape.h, &v = shape.w;
  if (N * C * h.input * v.input == 0) return;
  if (v.stride == 1 && 2 * C <= kTileStep) return conv2d_grad_input_by_taps(shape, dy, w, b, rectify, dx);
  const AdjointTaps taps_h = adjoint_taps(h), taps_w = adjoint_taps(v);
  const std::vector<const T*> panels = pack_phases(shape, taps_h, taps_w, w);

  const Index pitch = taps_w.reads_last - taps_w.reads_first, sum_lines = v.stride * padded_rows(C);
  const Index all_rows = taps_h.last - taps_h.first;
  const ConvBlock size = conv_block(N, all_rows, (O + sum_lines) * pitch * Index(sizeof(T)), threads());
  const Index row_blocks = ceil_div(all_rows, size.rows);
  parallel_for(ceil_div(N, size.images) * row_blocks, 1, [&](Index begin, Index end) {
    for (Index task = begin; task < end; ++task) {
      const Index n0 = task / row_blocks * size.images, images = min_index(size.images, N - n0);
      const Index i0 = taps_h.first + task % row_blocks * size.rows;
      const Index i1 = min_index(i0 + size.rows, taps_h.last);
      const Index step = images * pitch, height = i1 - i0 + taps_h.reach;
      const Index plane = plane_size<T>(height * step), ld = round_up((i1 - i0) * step, kTileCols<T>);
      T* planes = scratch<T>(Scratch::kPlanes, O * plane + pitch + kTileCols<T>);
      fill_planes(dy + n0 * O * h.output * v.output, images, O,
                  Phases{h.output, 1, height, {i0 - taps_h.reach}},
                  Phases{v.output, 1, pitch, {taps_w.reads_first}}, plane, planes);
      T* sums = scratch<T>(Scratch::kTile, sum_lines * ld + kVectorLanes<T>);
      const GradInputBlock<T> block{n0, images, i0, i1, pitch, step, planes, plane, ld, sums};
      auto* phases = scratch<PhaseSums<T>>(Scratch::kPhases, v.stride);
      for (Index rh = 0; rh < h.stride; ++rh) {
        const AdjointPhase& in_h = taps_h.phase[rh];
        const Index first = in_h.first > i0 ? in_h.first : i0, last = min_index(in_h.last, i1);
        if (first >= last) continue;
        phase_products(shape, taps_h, taps_w, in_h, first, last, &panels[rh * v.stride], block, phases);
        write_phases(shape, rh, first, last, phases, block, b, rectify, dx);
      }
    }
  });
}

// The images are cut into at most this many pieces, by their number alone; the pieces' gradients are added in
// order, so that the result does not depend on the number of threads.
constexpr Index kGradPieces = 16;
constexpr Index kGradPieceBytes = Index(16) << 20;  // for all pieces together

// part[tile][sum] += the dot products of every row with every column of lines, which lie at the listed
// distances from p. Past the last line a tile computes that one again.
template <class T>
void add_dot_products(const T* p, const Index* row, Index rows, const Index* col, Index cols, Index length,
                      T* part) {
  constexpr Index R = kDotRows, S = kDotCols;
  const Index col_tiles = ceil_div(cols, S);
  for (Index q = 0; q < length; q += kDotDepth<T>) {
    const Index depth = min_index(kDotDepth<T>, length - q);
    parallel_for(ceil_div(rows, R), 1, [&](Index begin, Index end) {  // inline when pieces run in parallel
      for (Index i = begin; i < end; ++i) {
        const T *a[R], *b[S];
        for (Index r = 0; r < R; ++r) a[r] = p + row[min_index(i * R + r, rows - 1)] + q;
        for (Index j = 0; j < col_tiles; ++j) {
          for (Index s = 0; s < S; ++s) b[s] = p + col[min_index(j * S + s, cols - 1)] + q;
          T sums[kDotSums<T>];
          dot_tile<false>(depth, a, b, 0, sums);
          T* to = part + (i * col_tiles + j) * kDotSums<T>;
          for (Index t = 0; t < kDotSums<T>; ++t) to[t] += sums[t];
        }
      }
    });
  }
}

// How the gradient of the weights, dy x patches of x, is cut into tiles of kDotRows lines by kDotCols lines:
// channels of dy by taps, or, when there are few channels, taps by channels.
struct GradWeightTiles {
  Index channels, taps;
  bool swap;
  Index rows() const { return swap ? taps : channels; }
  Index cols() const { return swap ? channels : taps; }
};

// part += the gradient from images [n_begin, n_end), as tiles, a block at a time.
template <class T>
void add_gradient(const ConvShape& shape, const ConvTaps& taps_h, const ConvTaps& taps_w, const T* x,
                  const T* dy, Index n_begin, Index n_end, const ConvBlock& block,
                  const GradWeightTiles& tiles, T* part) {
  const Index C = shape.C, O = shape.O;
  const ConvAxis &h = shape.h, &v = shape.w;
  const Index phases = Index(taps_h.remainder.size() * taps_w.remainder.size());
  const Index pitch = v.output + taps_w.reach;
  for (Index n0 = n_begin; n0 < n_end; n0 += block.images) {
    const Index images = min_index(block.images, n_end - n0);
    for (Index o0 = 0; o0 < h.output; o0 += block.rows) {
      const Index lines = min_index(block.rows, h.output - o0);
      const Index step = images * pitch, length = lines * step;
      // A tap's line ends up to a reach past its plane's last row. What lies there, and in the columns
      // between two images, is multiplied by a dy of 0, and the product has to be 0. An infinite x there
      // makes NaN of the taps beside it.
      const Index plane = plane_size<T>((lines + taps_h.reach) * step + taps_w.reach);
      const Index dy_plane = plane_size<T>(length);
      T* planes = scratch<T>(Scratch::kPlanes, C * phases * plane + O * dy_plane);
      fill_planes(x + n0 * C * h.input * v.input, images, C, taps_h.inputs(h, o0, lines),
                  taps_w.inputs(v, 0, v.output), plane, planes);
      fill_planes(dy + n0 * O * h.output * v.output, images, O, Phases{h.output, 1, lines, {o0}},
                  Phases{v.output, 1, pitch, {0}}, dy_plane, planes + C * phases * plane);
      Index* tap = scratch<Index>(Scratch::kOffsets, tiles.taps + O);
      Index* channel = tap + tiles.taps;
      tap_offsets(taps_h, taps_w, C, plane, step, tap);
      for (Index o = 0; o < O; ++o) channel[o] = C * phases * plane + o * dy_plane;
      add_dot_products(planes, tiles.swap ? tap : channel, tiles.rows(), tiles.swap ? channel : tap,
                       tiles.cols(), length, part);
    }
  }
}

// dw (O, taps) from its tiles.
template <class T>
void unpack_tiles(const GradWeightTiles& tiles, const T* part, T* dw) {
  const Index col_tiles = ceil_div(tiles.cols(), kDotCols);
  for (Index o = 0; o < tiles.channels; ++o) {
    for (Index k = 0; k < tiles.taps; ++k) {
      const Index row = tiles.swap ? k : o, col = tiles.swap ? o : k;
      const Index tile = row / kDotRows * col_tiles + col / kDotCols;
      dw[o * tiles.taps + k] = part[tile * kDotSums<T> + row % kDotRows * kDotCols + col % kDotCols];
    }
  }
}

template <class T>
void conv2d_grad_weight(const ConvShape& shape, const T* x, const T* dy, T* dw) {
  const Index N = shape.N, C = shape.C, O = shape.O;
  const ConvAxis &h = shape.h, &v = shape.w;
  const GradWeightTiles tiles{O, C * h.kernel * v.kernel, O < kDotRows};
  if (O * tiles.taps == 0) return;
  const ConvTaps taps_h = conv_taps(h), taps_w = conv_taps(v);

  const Index part_size = ceil_div(tiles.rows(), kDotRows) * ceil_div(tiles.cols(), kDotCols) * kDotSums<T>;
  const Index room = kGradPieceBytes / (part_size * Index(sizeof(T)));
  const Index pieces = N < 1 || room < 1 ? 1 : min_index(min_index(N, room), kGradPieces);
  T* parts = scratch<T>(Scratch::kPartial, pieces * part_size);

  const Index phases = Index(taps_h.remainder.size() * taps_w.remainder.size());
  const Index row_bytes = (C * phases + O) * (v.output + taps_w.reach) * Index(sizeof(T));
  const Index piece_images = ceil_div(N, pieces);
  const ConvBlock block = conv_block(piece_images, h.output, row_bytes, 1);
  parallel_for(pieces, 1, [&](Index begin, Index end) {
    for (Index piece = begin; piece < end; ++piece) {
      T* part = parts + piece * part_size;
      for (Index t = 0; t < part_size; ++t) part[t] = 0;
      const Index n_begin = piece * piece_images, n_end = min_index(N, n_begin + piece_images);
      add_gradient(shape, taps_h, taps_w, x, dy, n_begin, n_end, block, tiles, part);
    }
  });
  parallel_for(part_size, 1 << 14, [&](Index begin, Index end) {
    for (Index piece = 1; piece < pieces; ++piece) {
      for (Index t = begin; t < end; ++t) parts[t] += parts[piece * part_size + t];
    }
  });
  unpack_tiles(tiles, parts, dw);
}
