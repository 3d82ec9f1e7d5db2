package main

import (
	"math"
	"math/cmplx"
)

// Is there anything to hear? docs/reference/streaming.md, section 3.
const (
	bands            = 16
	minLevelDbfs     = -60
	levelMarginDb    = 8
	flatnessMarginDb = 4
	floorRiseS       = 12
	floorFallS       = 0.5
)

// ActivityGate follows one stream, frame by frame.
type ActivityGate struct {
	size                      int // samples of a frame
	taper                     []float64
	edges                     [bands + 1]int
	floorDb                   [bands]float64
	scale, second, rise, fall float64
	sinceReset                float64
	frame                     []float64
	frames                    int
	active                    []int
}

// NewActivityGate works at the network's rate.
func NewActivityGate(rateHz int) *ActivityGate {
	g := &ActivityGate{size: 1}
	for g.size < rateHz/25 {
		g.size *= 2
	}
	n, squares := float64(g.size), 0.0
	for i := 0; i < g.size; i++ {
		x := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/n)
		g.taper, squares = append(g.taper, x), squares+x*x
	}
	g.scale = 2 / (n * squares)
	mel := func(hz float64) float64 { return 2595 * math.Log10(1+hz/700) }
	low, high := mel(60), mel(float64(rateHz)/2)
	for i := range g.edges {
		at := low + (high-low)*float64(i)/bands
		hz := 700 * (math.Pow(10, at/2595) - 1)
		g.edges[i] = int(math.RoundToEven(hz * n / float64(rateHz)))
		if i > 0 && g.edges[i] <= g.edges[i-1] { // a band has one bin at least
			g.edges[i] = g.edges[i-1] + 1
		}
	}
	seconds := n / float64(rateHz)
	g.second = 1 / seconds
	g.rise, g.fall = 1-math.Exp(-seconds/floorRiseS), 1-math.Exp(-seconds/floorFallS)
	for i := range g.floorDb {
		g.floorDb[i] = -100
	}
	return g
}

// StartSegment says that what follows does not continue what came before; the noise floor stays.
func (g *ActivityGate) StartSegment() {
	g.frame, g.active, g.frames = nil, nil, 0
}

// Hear takes the next samples of the segment, any number.
func (g *ActivityGate) Hear(samples []float32) {
	for _, x := range samples {
		if g.frame = append(g.frame, float64(x)); len(g.frame) < g.size {
			continue
		}
		if g.isActive(g.frame) {
			g.active = append(g.active, g.frames)
		}
		g.frames++
		g.frame = g.frame[:0]
	}
}

// IsOpen says whether an active frame begins at or after `start`, which must not go back.
func (g *ActivityGate) IsOpen(start int) bool {
	for len(g.active) > 0 && g.active[0]*g.size < start {
		g.active = g.active[1:]
	}
	return g.frames == 0 || len(g.active) > 0
}

// Measure gives a frame's excess over the floor and its distance from flat, in dB.
func (g *ActivityGate) Measure(frame []float64) (excessDb, fromFlatDb float64, levelsDb [bands]float64) {
	spectrum := make([]complex128, g.size)
	for i, x := range frame {
		spectrum[i] = complex(x*g.taper[i], 0)
	}
	transform(spectrum)
	sum, linear := 0.0, 0.0
	for band := range levelsDb {
		power := 0.0
		for _, x := range spectrum[g.edges[band]:g.edges[band+1]] {
			power += (real(x)*real(x) + imag(x)*imag(x)) * g.scale
		}
		power /= float64(g.edges[band+1] - g.edges[band])
		levelsDb[band] = 10 * math.Log10(math.Max(power, 1e-10))
		above := levelsDb[band] - g.floorDb[band]
		sum, linear = sum+above, linear+math.Pow(10, above/10)
	}
	excessDb = 10 * math.Log10(linear/bands)
	return excessDb, excessDb - sum/bands, levelsDb
}

func (g *ActivityGate) isActive(frame []float64) bool {
	excessDb, fromFlatDb, levelsDb := g.Measure(frame)
	rise := math.Max(g.rise, math.Min(1, 2/(g.sinceReset+g.second)))
	g.sinceReset++
	for band, level := range levelsDb {
		weight := g.fall
		if level > g.floorDb[band] {
			weight = rise
		}
		g.floorDb[band] += weight * (level - g.floorDb[band])
	}
	power := 0.0
	for _, x := range frame {
		power += x * x
	}
	loud := power/float64(g.size) >= math.Pow(10, minLevelDbfs/10.0)
	return loud && (excessDb >= levelMarginDb || fromFlatDb >= flatnessMarginDb)
}

// In-place Fourier transform of a power of two values.
func transform(x []complex128) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		if j ^= bit; i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for half := 1; half < n; half *= 2 {
		for k := 0; k < half; k++ {
			turn := cmplx.Rect(1, -math.Pi*float64(k)/float64(half))
			for i := k; i < n; i += 2 * half {
				odd := x[i+half] * turn
				x[i], x[i+half] = x[i]+odd, x[i]-odd
			}
		}
	}
}
