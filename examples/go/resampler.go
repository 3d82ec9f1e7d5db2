package main

import "math"

// Resampler is a linear-phase low-pass filter (a sinc under a Kaiser window, 120 dB) with the pass
// band of soxr's high quality, which the Python runtime uses: 0.913 of the lower rate's half. Its
// delay is compensated, and n samples become the nearest whole number to n·to/from.
type Resampler struct {
	step, phases, reach int
	cutoff              float64
	held                []float32 // inputs from sample `first` on
	first, made, taken  int
	taps                map[int][]float64
}

const decibels = 125

// NewResampler works on blocks of any size.
func NewResampler(fromHz, toHz int) *Resampler {
	common := fromHz
	for rest := toHz; rest != 0; {
		common, rest = rest, common%rest
	}
	lower := math.Min(1, float64(toHz)/float64(fromHz))
	r := &Resampler{step: fromHz / common, phases: toHz / common, taps: map[int][]float64{}}
	r.cutoff = 0.5 * (1 + 0.913) * lower
	if fromHz != toHz {
		r.reach = int((decibels-8)/(4.57*(1-0.913)*lower*math.Pi)) + 1
	}
	r.clear()
	return r
}

// Push gives what is ready after `block`.
func (r *Resampler) Push(block []float32) []float32 {
	r.held = append(r.held, block...)
	r.taken += len(block)
	return r.make(floorDiv((r.taken-r.reach-1)*r.phases, r.step) + 1)
}

// Finish gives what is left; the next block begins anew.
func (r *Resampler) Finish() []float32 {
	total := (2*r.taken*r.phases + r.step) / (2 * r.step)
	r.held = append(r.held, make([]float32, r.reach+2)...)
	rest := r.make(total)
	r.clear()
	return rest
}

func (r *Resampler) clear() {
	r.made, r.taken, r.first = 0, 0, -r.reach
	r.held = make([]float32, r.reach)
}

func (r *Resampler) make(until int) []float32 {
	var out []float32
	for ; r.made < until; r.made++ {
		at := r.made * r.step
		if r.reach == 0 {
			out = append(out, r.held[at/r.phases-r.first])
			continue
		}
		from := r.held[at/r.phases-r.reach+1-r.first:]
		sum := 0.0
		for i, tap := range r.phase(at % r.phases) {
			sum += tap * float64(from[i])
		}
		out = append(out, float32(sum))
	}
	if keep := r.made*r.step/r.phases - r.reach; keep-r.first > 65_536 {
		r.held = append([]float32(nil), r.held[keep-r.first:]...)
		r.first = keep
	}
	return out
}

// Weights of the samples around an output that lies `which` steps behind a sample.
func (r *Resampler) phase(which int) []float64 {
	if known, ok := r.taps[which]; ok {
		return known
	}
	beta := 0.1102 * (decibels - 8.7)
	whole, sum := bessel(beta), 0.0
	taps := make([]float64, 2*r.reach)
	for i := range taps {
		x := float64(i-r.reach+1) - float64(which)/float64(r.phases)
		part, angle := x/float64(r.reach), math.Pi*r.cutoff*x
		window, sinc := 0.0, 1.0
		if math.Abs(part) < 1 {
			window = bessel(beta*math.Sqrt(1-part*part)) / whole
		}
		if angle != 0 {
			sinc = math.Sin(angle) / angle
		}
		taps[i] = sinc * window
		sum += taps[i]
	}
	for i := range taps {
		taps[i] /= sum
	}
	r.taps[which] = taps
	return taps
}

func bessel(x float64) float64 { // I0
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-18*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}

func floorDiv(a, b int) int {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// Resample a whole waveform, to one sample at least.
func Resample(samples []float32, fromHz, toHz int) []float32 {
	if fromHz == toHz {
		return samples
	}
	r := NewResampler(fromHz, toHz)
	out := r.Push(samples)
	if out = append(out, r.Finish()...); len(out) == 0 {
		out = []float32{0}
	}
	return out
}
