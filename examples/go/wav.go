package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
)

// ReadWAV gives a file's rate and its channels' mean, at full scale 1.
func ReadWAV(path string) (rateHz int, mono []float32, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	if len(content) < 12 || string(content[:4]) != "RIFF" || string(content[8:12]) != "WAVE" {
		return 0, nil, fmt.Errorf("%s is no WAV file", path)
	}
	var form format
	for at := 12; at+8 <= len(content); {
		kind, length := string(content[at:at+4]), int(binary.LittleEndian.Uint32(content[at+4:]))
		chunk := content[at+8:]
		if length < len(chunk) {
			chunk = chunk[:length]
		}
		switch {
		case kind == "fmt ":
			if form, err = parseFormat(chunk); err != nil {
				return 0, nil, fmt.Errorf("%s: %w", path, err)
			}
		case kind == "data" && form.channels == 0:
			return 0, nil, fmt.Errorf("%s has no format before its samples", path)
		case kind == "data":
			if mono, err = form.mean(chunk); err != nil {
				return 0, nil, fmt.Errorf("%s: %w", path, err)
			}
			return form.rateHz, mono, nil
		}
		at += 8 + length + length%2
	}
	return 0, nil, fmt.Errorf("%s holds no samples", path)
}

type format struct {
	tag, channels, rateHz, bytes int
}

func parseFormat(chunk []byte) (format, error) {
	if len(chunk) < 16 {
		return format{}, fmt.Errorf("the format ends too early")
	}
	number := func(at int) int { return int(binary.LittleEndian.Uint16(chunk[at:])) }
	form := format{number(0), number(2), int(binary.LittleEndian.Uint32(chunk[4:])), number(14) / 8}
	if form.tag == 0xfffe && len(chunk) >= 26 { // extensible: the GUID begins so
		form.tag = number(24)
	}
	pcm := form.tag == 1 && form.bytes >= 1 && form.bytes <= 4
	real := form.tag == 3 && (form.bytes == 4 || form.bytes == 8)
	switch {
	case !pcm && !real:
		return format{}, fmt.Errorf("neither PCM nor floating point")
	case form.channels < 1 || form.channels > 64:
		return format{}, fmt.Errorf("no usable channels")
	case form.rateHz < 100 || form.rateHz > 10_000_000:
		return format{}, fmt.Errorf("a sample rate that is not from 100 Hz to 10 MHz")
	}
	return form, nil
}

func (f format) mean(data []byte) ([]float32, error) {
	frame := f.bytes * f.channels
	mono := make([]float32, len(data)/frame)
	if len(mono) == 0 {
		return nil, fmt.Errorf("the WAV file holds no samples")
	}
	for i := range mono {
		sum := 0.0
		for channel := 0; channel < f.channels; channel++ {
			sum += f.sample(data[i*frame+channel*f.bytes:])
		}
		mono[i] = float32(sum / float64(f.channels))
		if math.IsNaN(sum) || math.IsInf(sum, 0) {
			return nil, fmt.Errorf("the WAV file has NaN or infinite samples")
		}
	}
	return mono, nil
}

func (f format) sample(from []byte) float64 {
	switch {
	case f.tag == 3 && f.bytes == 4:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(from)))
	case f.tag == 3:
		return math.Float64frombits(binary.LittleEndian.Uint64(from))
	case f.bytes == 1:
		return (float64(from[0]) - 128) / 128
	}
	value := int64(int8(from[f.bytes-1]))
	for i := f.bytes - 2; i >= 0; i-- {
		value = value<<8 | int64(from[i])
	}
	return float64(value) / float64(int64(1)<<(8*f.bytes-1))
}
