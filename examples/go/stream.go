package main

import (
	"fmt"
	"math"
)

// Stream is a classifier that listens: chunks in, events out (docs/reference/streaming.md). One
// source, one goroutine. Any way of cutting the sound into chunks gives the same events.
type Stream struct {
	Windows, Computed int // windows that have passed, and how many of them were computed

	grid      Grid
	inputHz   int
	classify  func(window []float32) ([]float64, error)
	resampler *Resampler
	tracker   *Tracker
	gate      *ActivityGate // nil: every window is computed
	last      []float32
	input     int // samples at the source's rate, lost ones too
	base      int
	heard     int
	index     int
}

// NewStream hears a source of `inputHz`; `classify` gives the probabilities of one window.
func NewStream(
	labels []string, grid Grid, inputHz int, classify func([]float32) ([]float64, error),
	rules EventRules, gate bool,
) (*Stream, error) {
	tracker, err := NewTracker(labels, grid, rules)
	if err != nil {
		return nil, err
	}
	s := &Stream{
		grid: grid, inputHz: inputHz, classify: classify, tracker: tracker,
		resampler: NewResampler(inputHz, grid.RateHz),
	}
	if gate {
		s.gate = NewActivityGate(grid.RateHz)
	}
	return s, nil
}

// Push hears mono samples at full scale 1; the events that end with them.
func (s *Stream) Push(samples []float32) ([]Event, error) {
	for _, x := range samples {
		if !(math.Abs(float64(x)) <= 1e30) {
			return nil, fmt.Errorf("a chunk has NaN, infinite or huge samples")
		}
	}
	s.input += len(samples)
	return s.hear(s.resampler.Push(samples))
}

// Flush hears what is left and ends all events. What is pushed afterwards begins a new segment.
func (s *Stream) Flush() ([]Event, error) {
	ended, err := s.hear(s.resampler.Finish())
	if err != nil {
		return nil, err
	}
	if tail, exists := s.grid.Tail(s.heard); exists {
		from, _ := s.grid.Cell(s.grid.WholeWindows(s.heard))
		more, err := s.window(tail, from, s.heard)
		if err != nil {
			return nil, err
		}
		ended = append(ended, more...)
	}
	ended = append(ended, s.tracker.Finish(s.base+s.heard)...)
	s.startSegment()
	return ended, nil
}

// Skip says that `lost` samples of the source never came: open events end, the time goes on.
func (s *Stream) Skip(lost int) ([]Event, error) {
	if lost < 1 {
		return nil, fmt.Errorf("a gap has at least one sample")
	}
	ended, err := s.Flush()
	s.input += lost
	s.startSegment()
	return ended, err
}

func (s *Stream) startSegment() {
	passed := s.input * s.grid.RateHz / s.inputHz
	if s.base += s.heard; s.base < passed {
		s.base = passed
	}
	s.heard, s.index, s.last = 0, 0, nil
	if s.gate != nil {
		s.gate.StartSegment()
	}
}

func (s *Stream) hear(samples []float32) (ended []Event, err error) {
	for len(samples) > 0 {
		missing := s.grid.Start(s.index) + s.grid.Window - s.heard
		part := samples
		if len(part) > missing {
			part = part[:missing]
		}
		if s.last = append(s.last, part...); len(s.last) > 4*s.grid.Window {
			s.last = append([]float32(nil), s.last[len(s.last)-s.grid.Window:]...)
		}
		if s.gate != nil {
			s.gate.Hear(part)
		}
		samples, s.heard = samples[len(part):], s.heard+len(part)
		if len(part) < missing {
			break
		}
		from, to := s.grid.Cell(s.index)
		more, err := s.window(s.grid.Start(s.index), from, to)
		if err != nil {
			return nil, err
		}
		ended = append(ended, more...)
		s.index++
	}
	return ended, nil
}

func (s *Stream) window(start, from, to int) ([]Event, error) {
	var row []float64
	if s.gate == nil || s.gate.IsOpen(start) {
		window, known := make([]float32, s.grid.Window), s.last
		if len(known) > s.grid.Window {
			known = known[len(known)-s.grid.Window:]
		}
		copy(window, known)
		found, err := s.classify(window)
		if err != nil {
			return nil, err
		}
		row = found
		s.Computed++
	}
	ended := s.tracker.Hear(s.base+from, s.base+to, row, s.Windows)
	s.Windows++
	return ended, nil
}
