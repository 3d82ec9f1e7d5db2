package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
)

// checkVectors holds the stream's test vectors against this code.
func checkVectors(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var vectors struct {
		Events []eventCase
		Gate   struct {
			SampleRateHz int `json:"sample_rate_hz"`
			FrameSamples int `json:"frame_samples"`
			Samples      int
			Frames       [][3]any
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		return err
	}
	passed, failed := 0, 0
	tell := func(good bool, name string) {
		if passed++; !good {
			passed, failed = passed-1, failed+1
			fmt.Println("differs:", name)
		}
	}
	for _, one := range vectors.Events {
		good, err := one.agrees()
		if err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		tell(good, one.Name)
	}
	gate, sound := NewActivityGate(vectors.Gate.SampleRateHz), noiseAndTone(vectors.Gate.Samples)
	good := gate.size == vectors.Gate.FrameSamples
	for i, expected := range vectors.Gate.Frames {
		part := sound[i*gate.size : (i+1)*gate.size]
		frame := make([]float64, len(part))
		for k, x := range part {
			frame[k] = float64(x)
		}
		excess, fromFlat, _ := gate.Measure(frame)
		gate.Hear(part)
		good = good && math.Abs(excess-expected[0].(float64)) < 2e-3 &&
			math.Abs(fromFlat-expected[1].(float64)) < 2e-3 &&
			gate.IsOpen(i*gate.size) == expected[2].(bool)
	}
	tell(good, "gate")
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%d vectors differ", failed)
	}
	return nil
}

type eventCase struct {
	Name          string
	SampleRateHz  int `json:"sample_rate_hz"`
	WindowSamples int `json:"window_samples"`
	HopUs         int `json:"hop_us"`
	TotalSamples  int `json:"total_samples"`
	Labels        []string
	Rules         json.RawMessage
	WindowStarts  []int `json:"window_starts"`
	Probabilities [][]float64
	Events        any
}

func (c eventCase) agrees() (bool, error) {
	grid, err := NewGrid(c.SampleRateHz, c.WindowSamples, c.HopUs)
	if err != nil {
		return false, err
	}
	rules, err := ParseRules(c.Rules)
	if err != nil {
		return false, err
	}
	tracker, err := NewTracker(c.Labels, grid, rules)
	if err != nil {
		return false, err
	}
	found, whole := []Event{}, grid.WholeWindows(c.TotalSamples)
	for i, row := range c.Probabilities {
		from, to := grid.Cell(i)
		start := grid.Start(i)
		if i >= whole {
			start, _ = grid.Tail(c.TotalSamples)
			to = c.TotalSamples
		}
		if start != c.WindowStarts[i] {
			return false, fmt.Errorf("a window begins elsewhere")
		}
		found = append(found, tracker.Hear(from, to, row, i)...)
	}
	found = append(found, tracker.Finish(c.TotalSamples)...)
	text, err := json.Marshal(found)
	if err != nil {
		return false, err
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return false, err
	}
	return same(plain, c.Events), nil
}

func same(a, b any) bool {
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		return ok && math.Abs(x-y) < 1e-9
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name := range x {
			if !same(x[name], y[name]) {
				return false
			}
		}
		return true
	}
	return a == b
}

// The sound of the gate's vectors, as docs/reference/streaming.md states it.
func noiseAndTone(samples int) []float32 {
	sound, state := make([]float32, samples), uint32(1)
	for i := range sound {
		state = 1664525*state + 1013904223
		x := 0.01 * (float64(state)/(1<<31) - 1)
		if i >= 3*samples/4 {
			x += 0.2 * math.Sin(0.3*float64(i))
		}
		sound[i] = float32(x)
	}
	return sound
}

// streamOne runs one random stream of the tests: JSON on stdin, events on stdout.
func streamOne() error {
	var one struct {
		SampleRateHz  int `json:"sample_rate_hz"`
		WindowSamples int `json:"window_samples"`
		HopUs         int `json:"hop_us"`
		InputHz       int `json:"input_hz"`
		Channels      int
		Rules         json.RawMessage
		Gate          bool
		Steps         []any
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	grid, err := NewGrid(one.SampleRateHz, one.WindowSamples, one.HopUs)
	if err != nil {
		return err
	}
	rules, err := ParseRules(one.Rules)
	if err != nil {
		return err
	}
	labels := []string{"mean", "top", "bottom"}
	stream, err := NewStream(labels, grid, one.InputHz, level, rules, one.Gate)
	if err != nil {
		return err
	}
	events := []Event{}
	for _, step := range one.Steps {
		var ended []Event
		if lost, isGap := step.(float64); isGap {
			ended, err = stream.Skip(int(lost))
		} else {
			ended, err = stream.Push(meanOf(step.([]any), one.Channels))
		}
		if err != nil {
			return err
		}
		events = append(events, ended...)
	}
	ended, err := stream.Flush()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"events": append(events, ended...), "windows": stream.Windows, "computed": stream.Computed,
	})
}

func meanOf(samples []any, channels int) []float32 {
	mono := make([]float32, len(samples)/channels)
	for i := range mono {
		sum := 0.0
		for _, x := range samples[i*channels : (i+1)*channels] {
			sum += x.(float64)
		}
		mono[i] = float32(sum / float64(channels))
	}
	return mono
}

// A network that hears every sample: the mean and the extremes of a window.
func level(window []float32) ([]float64, error) {
	mean, top, bottom := 0.0, -1e9, 1e9
	for _, x := range window {
		mean += math.Abs(float64(x)) / float64(len(window))
		top, bottom = math.Max(top, float64(x)), math.Min(bottom, float64(x))
	}
	clip := func(p float64) float64 { return math.Min(1, math.Max(0, p)) }
	return []float64{clip(2 * mean), clip(top), clip(-bottom)}, nil
}
