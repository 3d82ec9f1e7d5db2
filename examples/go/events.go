package main

import (
	"encoding/json"
	"fmt"
	"math"
)

const longestS = 1e9 // at any rate it is a whole number of samples in 64 bits

// From the probabilities of windows to events: docs/reference/streaming.md, sections 2 and 4.

// Grid says where windows lie, in whole samples.
type Grid struct {
	RateHz, Window, HopUs int
}

// NewGrid takes a hop of 0 as a quarter of a window.
func NewGrid(rateHz, window, hopUs int) (Grid, error) {
	if hopUs == 0 {
		hopUs = (250_000*window + rateHz - 1) / rateHz
	}
	if hopUs*rateHz < 1_000_000 || hopUs*rateHz > window*1_000_000 {
		return Grid{}, fmt.Errorf("a hop is at least one sample and at most one window")
	}
	return Grid{rateHz, window, hopUs}, nil
}

// Start of a window.
func (g Grid) Start(index int) int { return index * g.HopUs * g.RateHz / 1_000_000 }

// Cell is what a window speaks for.
func (g Grid) Cell(index int) (start, end int) {
	lead := (g.Window - g.HopUs*g.RateHz/1_000_000) / 2
	if index > 0 {
		start = g.Start(index) + lead
	}
	return start, g.Start(index+1) + lead
}

// WholeWindows that fit.
func (g Grid) WholeWindows(total int) int {
	if total < g.Window {
		return 0
	}
	return ((total-g.Window+1)*1_000_000-1)/(g.HopUs*g.RateHz) + 1
}

// Tail is where the last window begins that hears what whole windows left over.
func (g Grid) Tail(total int) (start int, exists bool) {
	heard := 0
	if whole := g.WholeWindows(total); whole > 0 {
		heard = g.Start(whole-1) + g.Window
	}
	if total > g.Window {
		start = total - g.Window
	}
	return start, heard != total
}

// Rule of one label; what JSON leaves out, or has as null, keeps its default.
type Rule struct {
	On           float64
	Off          *float64 // 0.7 times On
	MinDurationS float64  `json:"min_duration_s"`
	MergeGapS    float64  `json:"merge_gap_s"`
	MaxDurationS *float64 `json:"max_duration_s"`
	RefractoryS  float64  `json:"refractory_s"`
	SmoothingS   float64  `json:"smoothing_s"`
}

// EventRules is the rule for all labels, and what differs for some.
type EventRules struct {
	Rule
	PerLabel    map[string]Rule `json:"per_label"`
	Allow, Deny []string
}

// ParseRules reads rules as `gmme_edge.EventRules.to_dict()` writes them.
func ParseRules(text []byte) (EventRules, error) {
	rules := EventRules{Rule: Rule{On: 0.5}}
	if err := json.Unmarshal(text, &rules); err != nil {
		return rules, fmt.Errorf("the rules are damaged: %w", err)
	}
	if err := rules.check(); err != nil {
		return rules, err
	}
	for label, rule := range rules.PerLabel {
		if rule.On == 0 {
			rule.On = 0.5
			rules.PerLabel[label] = rule
		}
		if err := rule.check(); err != nil {
			return rules, err
		}
	}
	return rules, nil
}

func (r Rule) off() float64 {
	if r.Off != nil {
		return *r.Off
	}
	return 0.7 * r.On
}

func (r Rule) check() error {
	shortest, longest := r.MinDurationS, r.MinDurationS
	for _, duration := range []float64{r.MergeGapS, r.RefractoryS, r.SmoothingS} {
		shortest, longest = math.Min(shortest, duration), math.Max(longest, duration)
	}
	if !(r.off() > 0 && r.off() <= r.On && r.On <= 1) {
		return fmt.Errorf("a rule needs 0 < off <= on <= 1")
	}
	if r.MaxDurationS != nil && !(*r.MaxDurationS > 0 && *r.MaxDurationS >= r.MinDurationS) {
		return fmt.Errorf("a rule's maximum is above 0 and its minimum")
	}
	if r.MaxDurationS != nil {
		longest = math.Max(longest, *r.MaxDurationS)
	}
	if shortest < 0 || longest > longestS {
		return fmt.Errorf("a rule's durations are 0 to %g s", longestS)
	}
	return nil
}

// Event is a sound that was heard.
type Event struct {
	Kind         string  `json:"kind"`
	Label        string  `json:"label"`
	StartS       float64 `json:"start_s"`
	EndS         float64 `json:"end_s"`
	StartSample  int     `json:"start_sample"`
	EndSample    int     `json:"end_sample"`
	SampleRateHz int     `json:"sample_rate_hz"`
	Peak         float64 `json:"peak"`
	Mean         float64 `json:"mean"`
	FirstWindow  int     `json:"first_window"`
	LastWindow   int     `json:"last_window"`
	Windows      int     `json:"windows"`

	total float64
}

func (e *Event) count(probability *float64, window int) {
	if e.LastWindow == window {
		return
	}
	if e.LastWindow < 0 {
		e.FirstWindow = window
	}
	e.LastWindow = window
	if probability != nil {
		e.Peak = math.Max(e.Peak, *probability)
		e.total += *probability
		e.Windows++
	}
}

// track is one label's way from probabilities to events; all times in samples.
type track struct {
	label                                      string
	rateHz                                     int
	on, off, weight, smooth                    float64
	least, merge, most, refractory, quietUntil int // most: 0 where there is none
	open                                       *Event
	sounding                                   bool
}

func newTrack(label string, rule Rule, grid Grid) *track {
	samples := func(seconds float64) int {
		return int(math.Floor(seconds*float64(grid.RateHz) + 0.5))
	}
	t := &track{label: label, rateHz: grid.RateHz, on: rule.On, off: rule.off(), weight: 1}
	t.least, t.merge, t.refractory = samples(rule.MinDurationS), samples(rule.MergeGapS), samples(rule.RefractoryS)
	if rule.MaxDurationS != nil {
		t.most = samples(*rule.MaxDurationS)
		if t.most < 1 {
			t.most = 1
		}
	}
	if rule.SmoothingS > 0 {
		t.weight = 1 - math.Exp(-float64(grid.HopUs)/1e6/rule.SmoothingS)
	}
	return t
}

// hear adds the events that end within the cell.
func (t *track) hear(start, end int, probability *float64, window int, ended *[]Event) {
	position := start
	for position < end {
		if t.sounding && t.smooth < t.off || !t.sounding && t.smooth < t.on {
			break
		}
		if t.open != nil && t.reach(end) <= position { // it cannot grow as far as this
			t.close(ended)
		}
		if t.open == nil {
			if position < t.quietUntil {
				position = t.quietUntil
			}
			if position >= end || probability == nil {
				t.fallSilent(end, ended)
				return
			}
			t.open = &Event{
				Kind: "event", Label: t.label, StartSample: position, SampleRateHz: t.rateHz,
				FirstWindow: -1, LastWindow: -1,
			}
		}
		position = t.reach(end)
		t.open.EndSample = position
		t.open.count(probability, window)
		t.sounding = true
		if t.most > 0 && position == t.open.StartSample+t.most {
			t.close(ended)
			t.sounding = t.refractory == 0
		}
	}
	if position < end {
		t.fallSilent(end, ended)
	}
}

func (t *track) fallSilent(end int, ended *[]Event) {
	t.sounding = false
	if t.open != nil && end-t.open.EndSample > t.merge {
		t.close(ended)
	}
}

func (t *track) reach(end int) int {
	if longest := t.open.StartSample + t.most; t.most > 0 && longest < end {
		return longest
	}
	return end
}

func (t *track) close(ended *[]Event) {
	one := *t.open
	t.open = nil
	if one.EndSample-one.StartSample < t.least {
		return
	}
	t.quietUntil = one.EndSample + t.refractory
	seconds := func(sample int) float64 {
		return math.Round(1e6*float64(sample)/float64(t.rateHz)) / 1e6
	}
	one.StartS, one.EndS = seconds(one.StartSample), seconds(one.EndSample)
	one.Mean = one.total / float64(one.Windows)
	*ended = append(*ended, one)
}

// Tracker is the rules at work: give it windows in order, take events.
type Tracker struct {
	tracks     []*track // nil where a label makes no events
	begun      bool
	row        []float64 // of the latest window; nil: not computed
	window     int
	heardUntil int
}

// NewTracker refuses rules for labels that the network does not have.
func NewTracker(labels []string, grid Grid, rules EventRules) (*Tracker, error) {
	known, tracker := map[string]bool{}, &Tracker{}
	for _, label := range labels {
		known[label] = true
		allowed := (len(rules.Allow) == 0 || contains(rules.Allow, label)) && !contains(rules.Deny, label)
		rule, own := rules.PerLabel[label]
		if !own {
			rule = rules.Rule
		}
		var one *track
		if allowed {
			one = newTrack(label, rule, grid)
		}
		tracker.tracks = append(tracker.tracks, one)
	}
	names := append(append([]string{}, rules.Allow...), rules.Deny...)
	for name := range rules.PerLabel {
		names = append(names, name)
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("the rules name the label %q, which the network does not have", name)
		}
	}
	return tracker, nil
}

// Hear gives the events that end with this window, which speaks for its cell.
func (t *Tracker) Hear(start, end int, row []float64, window int) (ended []Event) {
	for i, track := range t.tracks {
		if track == nil {
			continue
		}
		raw := 0.0
		if row != nil {
			raw = row[i]
		}
		if t.begun {
			track.smooth += track.weight * (raw - track.smooth)
		} else {
			track.smooth = raw
		}
	}
	t.begun, t.row, t.window = true, row, window
	t.follow(start, end, &ended)
	return ended
}

// Finish ends what is open: the sound ends at `end`, or is interrupted there.
func (t *Tracker) Finish(end int) (ended []Event) {
	t.follow(t.heardUntil, end, &ended)
	t.begun = false
	for _, track := range t.tracks {
		if track == nil {
			continue
		}
		track.sounding = false
		if track.open != nil {
			track.close(&ended)
		}
	}
	return ended
}

func (t *Tracker) follow(start, end int, ended *[]Event) {
	if !t.begun || start >= end {
		return
	}
	for i, track := range t.tracks {
		if track == nil {
			continue
		}
		var probability *float64
		if t.row != nil {
			probability = &t.row[i]
		}
		track.hear(start, end, probability, t.window, ended)
	}
	t.heardUntil = end
}

func contains(list []string, wanted string) bool {
	for _, each := range list {
		if each == wanted {
			return true
		}
	}
	return false
}
