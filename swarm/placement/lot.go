package placement

import "math"

// mix is the 64-bit finalizer of MurmurHash3: every bit of x changes half of the
// bits of the result.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// lot is what a member of the given weight draws where hash is the mix of the
// member and the block.
func lot(hash uint64, weight float64) float64 {
	return negLog(hash>>12) / weight
}

// negLog returns -ln((m+0.5) / 2^52) for m < 2^52.
//
// math.Log is not used because it need not return the same bits everywhere. The
// conversions around the products are there for the same reason: they forbid the
// compiler to fuse a product with the sum that follows it.
func negLog(m uint64) float64 {
	f, e := math.Frexp(float64(m) + 0.5) // exact: m has at most 52 bits
	e -= 52
	if f < 0.70710678118654752440 {
		f *= 2
		e--
	}
	// ln f = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...), where |s| < 0.172.
	s := (f - 1) / (f + 1)
	z := float64(s * s)
	sum := 1.0 / 23
	for i := 21.0; i >= 1; i -= 2 {
		sum = float64(sum*z) + 1/i
	}
	return -(float64(2*s*sum) + float64(float64(e)*0.69314718055994530942))
}
