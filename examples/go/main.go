// A bundle in Go, on ONNX Runtime's C library; docs/guides/go.md says how to build it.
//
//	gmme-edge-go verify BUNDLE
//	gmme-edge-go classify BUNDLE FILE.wav…
//	gmme-edge-go listen BUNDLE RATE_HZ [RULES.json]    16-bit mono PCM on stdin to events
//	gmme-edge-go time BUNDLE                           a run for each line on stdin, in ms
//	gmme-edge-go vectors FILE|--stream
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

func run(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("usage: gmme-edge-go verify|classify|listen|time|vectors WHAT …")
	}
	if words[0] == "vectors" {
		if words[1] == "--stream" {
			return streamOne()
		}
		return checkVectors(words[1])
	}
	classifier, err := Load(words[1], "fp32")
	if err != nil {
		return err
	}
	switch words[0] {
	case "verify":
		return tell(map[string]any{"relative_error": classifier.GoldenError})
	case "classify":
		return classify(classifier, words[2:])
	case "listen":
		return listen(classifier, words[2:])
	case "time":
		return timeRuns(classifier)
	}
	return fmt.Errorf("unknown command %q", words[0])
}

func tell(line any) error { return json.NewEncoder(os.Stdout).Encode(line) }

func classify(classifier *Classifier, files []string) error {
	if len(files) == 0 {
		return fmt.Errorf("classify needs a WAV file")
	}
	for _, file := range files {
		rateHz, mono, err := ReadWAV(file)
		if err != nil {
			return err
		}
		found, err := classifier.Classify(mono, rateHz, 5)
		if err != nil {
			return err
		}
		if err := tell(map[string]any{"file": file, "predictions": found}); err != nil {
			return err
		}
	}
	return nil
}

// timeRuns runs a window for each line on stdin, and tells the milliseconds.
func timeRuns(classifier *Classifier) error {
	window := make([]float32, classifier.Window)
	for i := range window {
		window[i] = float32(math.Sin(0.3 * float64(i)))
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		begun := time.Now()
		if _, err := classifier.logits(window); err != nil {
			return err
		}
		fmt.Println(float64(time.Since(begun).Microseconds()) / 1000)
	}
	return nil
}

func listen(classifier *Classifier, words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("listen needs the rate of its input")
	}
	rateHz, err := strconv.Atoi(words[0])
	if err != nil || rateHz < 100 || rateHz > 10_000_000 {
		return fmt.Errorf("a rate of %q, where 100 to 10000000 is possible", words[0])
	}
	text := []byte("{}")
	if len(words) > 1 {
		if text, err = os.ReadFile(words[1]); err != nil {
			return err
		}
	}
	rules, err := ParseRules(text)
	if err != nil {
		return err
	}
	grid, err := NewGrid(classifier.SampleRateHz, classifier.Window, 0)
	if err != nil {
		return err
	}
	stream, err := NewStream(classifier.Labels, grid, rateHz, classifier.Probabilities, rules, true)
	if err != nil {
		return err
	}
	input, pcm := bufio.NewReader(os.Stdin), make([]int16, rateHz/10)
	for err == nil {
		var count int
		if count, err = readSamples(input, pcm); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		chunk := make([]float32, count)
		for i := range chunk {
			chunk[i] = float32(pcm[i]) / 32768
		}
		ended, failed := stream.Push(chunk)
		if failed != nil {
			return failed
		}
		if failed := tellAll(ended); failed != nil {
			return failed
		}
	}
	ended, err := stream.Flush()
	if err != nil {
		return err
	}
	return tellAll(ended)
}

// readSamples fills `pcm`; io.EOF where the input ended before.
func readSamples(input io.Reader, pcm []int16) (int, error) {
	raw := make([]byte, 2*len(pcm))
	count, err := io.ReadFull(input, raw)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	for i := 0; i < count/2; i++ {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return count / 2, err
}

func tellAll(events []Event) error {
	for _, event := range events {
		if err := tell(event); err != nil {
			return err
		}
	}
	return nil
}
