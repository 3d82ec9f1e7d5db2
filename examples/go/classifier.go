package main

import (
	"fmt"
	"math"
	"sort"
)

// Classifier is a bundle's network, checked against its golden vectors before it answers.
type Classifier struct {
	Labels       []string
	SampleRateHz int
	Window       int
	GoldenError  float64 // of the logits against torch's, relative to the largest of them

	session *Session
}

// Prediction is a label and its probability.
type Prediction struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
}

// Load opens a precision of the bundle in `folder`.
func Load(folder, precision string) (*Classifier, error) {
	bundle, err := OpenBundle(folder)
	if err != nil {
		return nil, err
	}
	session, err := OpenSession(bundle, precision, 1)
	if err != nil {
		return nil, err
	}
	model := bundle.Manifest.Model
	classifier := &Classifier{
		Labels: bundle.Manifest.Labels, SampleRateHz: model.SampleRateHz, Window: model.NSamples,
		session: session,
	}
	return classifier, classifier.checkGolden(bundle, precision)
}

func (c *Classifier) checkGolden(bundle *Bundle, precision string) error {
	arrays, err := bundle.Golden()
	if err != nil {
		return err
	}
	waves, expected := arrays["waveform"], arrays["logits"]
	limit := bundle.Manifest.Parity[precision].Limit
	if limit == nil || len(waves.Shape) != 2 || waves.Shape[1] != c.Window || len(waves.Values) == 0 {
		return fmt.Errorf("the golden vectors are incomplete")
	}
	var found []float32
	for at := 0; at < len(waves.Values); at += c.Window {
		logits, err := c.logits(waves.Values[at : at+c.Window])
		if err != nil {
			return err
		}
		found = append(found, logits...)
	}
	repeat, repeatLimit := 0.0, map[string]float64{"fp32": 1e-3, "fp16": 1e-2}[precision]
	if repeatLimit == 0 {
		repeatLimit = 0.1
	}
	if own, known := arrays["logits."+precision]; known {
		repeat = relativeError(found, own.Values)
	}
	c.GoldenError = relativeError(found, expected.Values)
	// Written so that an error that is not a number fails.
	if !(c.GoldenError <= *limit) || !(repeat <= repeatLimit) {
		return fmt.Errorf("the outputs differ from the golden vectors: relative error %g", c.GoldenError)
	}
	return nil
}

func relativeError(found, expected []float32) float64 {
	if len(found) != len(expected) {
		return math.NaN()
	}
	largestError, scale := 0.0, 1e-12
	for i, value := range expected {
		difference := math.Abs(float64(found[i]) - float64(value))
		if !(difference <= largestError) {
			largestError = difference
		}
		scale = math.Max(scale, math.Abs(float64(value)))
	}
	return largestError / scale
}

func (c *Classifier) logits(window []float32) ([]float32, error) {
	peak := float32(0)
	for _, x := range window {
		peak = float32(math.Max(float64(peak), math.Abs(float64(x))))
	}
	if peak > 1<<20 { // the network's own scaling would underflow
		scaled := make([]float32, len(window))
		for i, x := range window {
			scaled[i] = x / peak
		}
		window = scaled
	}
	return c.session.Logits(window)
}

// Probabilities of one window at the network's rate, one per label.
func (c *Classifier) Probabilities(window []float32) ([]float64, error) {
	logits, err := c.logits(window)
	if err != nil {
		return nil, err
	}
	top, sum := math.Inf(-1), 0.0
	for _, logit := range logits {
		top = math.Max(top, float64(logit))
	}
	found := make([]float64, len(logits))
	for i, logit := range logits {
		found[i] = math.Exp(float64(logit) - top)
		sum += found[i]
	}
	for i := range found {
		found[i] /= sum
	}
	return found, nil
}

// Classify names a whole sound, best label first: equally spaced windows, of which those with sound
// are averaged.
func (c *Classifier) Classify(mono []float32, rateHz, top int) ([]Prediction, error) {
	sound := Resample(mono, rateHz, c.SampleRateHz)
	count := (len(sound) + c.Window - 1) / c.Window
	rows, shares, most := make([][]float64, count), make([]float64, count), 0.0
	for i := range rows {
		start := 0
		if count > 1 {
			step := float64(len(sound)-c.Window) / float64(count-1)
			start = int(math.RoundToEven(float64(i) * step))
		}
		window := make([]float32, c.Window)
		copy(window, sound[start:])
		row, err := c.Probabilities(window)
		if err != nil {
			return nil, err
		}
		rows[i], shares[i] = row, soundShare(window)
		most = math.Max(most, shares[i])
	}
	found := make([]Prediction, len(c.Labels))
	for label, name := range c.Labels {
		sum, voters := 0.0, 0.0
		for i, row := range rows {
			if shares[i] >= 0.1*most {
				sum, voters = sum+row[label], voters+1
			}
		}
		found[label] = Prediction{name, sum / voters}
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Probability > found[j].Probability })
	if len(found) > top {
		found = found[:top]
	}
	return found, nil
}

// How much of a window reaches -80 dB of full scale, in frames of 32 samples.
func soundShare(window []float32) float64 {
	frames, loud := 0, 0
	for at := 0; at < len(window); at += 32 {
		frames++
		for i := at; i < at+32 && i < len(window); i++ {
			if math.Abs(float64(window[i])) >= 1e-4 {
				loud++
				break
			}
		}
	}
	return float64(loud) / float64(frames)
}
