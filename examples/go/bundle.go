package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// BundleFile is one file that the manifest lists.
type BundleFile struct {
	Path, Role, SHA256, Precision string
}

// Manifest is what an app needs of manifest.json.
type Manifest struct {
	Schema int
	Model  struct {
		Name         string
		SampleRateHz int `json:"sample_rate_hz"`
		NSamples     int `json:"n_samples"`
		NClasses     int `json:"n_classes"`
	}
	Labels []string
	Files  []BundleFile
	Parity map[string]struct{ Limit *float64 }
}

// Bundle is a folder as `gmme-edge export` writes it.
type Bundle struct {
	Folder   string
	Manifest Manifest
}

// OpenBundle reads the manifest, bytes from outside, and refuses what no export writes.
func OpenBundle(folder string) (*Bundle, error) {
	bundle := &Bundle{Folder: folder}
	text, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		return nil, err
	}
	manifest := &bundle.Manifest
	if err := json.Unmarshal(text, manifest); err != nil {
		return nil, fmt.Errorf("manifest.json is damaged: %w", err)
	}
	model := manifest.Model
	switch {
	case manifest.Schema != 1:
		return nil, fmt.Errorf("manifest.json has another schema than 1")
	case model.SampleRateHz < 1 || model.SampleRateHz > 1_000_000:
		return nil, fmt.Errorf("manifest.json has a rate that no network has")
	case model.NSamples < 1 || model.NSamples > 1<<24:
		return nil, fmt.Errorf("manifest.json has a window that no network has")
	case len(manifest.Labels) == 0 || len(manifest.Labels) != model.NClasses:
		return nil, fmt.Errorf("manifest.json has not one label per class")
	}
	seen := map[string]bool{}
	for _, file := range manifest.Files {
		framed := "/" + file.Path + "/"
		leaves := file.Path == "" || file.Path[0] == '/' ||
			strings.ContainsAny(file.Path, "\\\x00") || strings.Contains(framed, "/../")
		if leaves || seen[file.Path] {
			return nil, fmt.Errorf("manifest.json names a file twice or outside the bundle")
		}
		seen[file.Path] = true
	}
	return bundle, nil
}

// Checked gives the bytes of the files of a role, which are those of the export.
func (b *Bundle) Checked(role, precision string) (path string, content []byte, err error) {
	for _, file := range b.Manifest.Files {
		if file.Role != role || (precision != "" && file.Precision != precision) {
			continue
		}
		path = filepath.Join(b.Folder, file.Path)
		if content, err = os.ReadFile(path); err != nil {
			return "", nil, err
		}
		sum := sha256.Sum256(content)
		if hex.EncodeToString(sum[:]) != file.SHA256 {
			return "", nil, fmt.Errorf("%s has changed since the export: its SHA-256 differs", path)
		}
		return path, content, nil
	}
	return "", nil, nil
}

// Array is a matrix of golden.npz.
type Array struct {
	Shape  []int
	Values []float32
}

const largest = 1 << 28 // no golden array has more values

var shapeOf = regexp.MustCompile(`'shape':\s*\(([\d, ]*)\)`)

// Golden reads golden.npz: a ZIP file of NumPy arrays, float32, little-endian.
func (b *Bundle) Golden() (map[string]Array, error) {
	_, content, err := b.Checked("golden", "")
	if err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("golden.npz is damaged: %w", err)
	}
	arrays := map[string]Array{}
	for _, entry := range archive.File {
		file, err := entry.Open()
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(io.LimitReader(file, 4*largest))
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("golden.npz is damaged: %w", err)
		}
		array, err := parseArray(raw)
		if err != nil {
			return nil, fmt.Errorf("golden.npz, %s: %w", entry.Name, err)
		}
		arrays[strings.TrimSuffix(entry.Name, ".npy")] = array
	}
	return arrays, nil
}

func parseArray(raw []byte) (Array, error) {
	var found Array
	if len(raw) < 12 || string(raw[:6]) != "\x93NUMPY" {
		return found, fmt.Errorf("no .npy file")
	}
	start, length := 10, int(binary.LittleEndian.Uint16(raw[8:]))
	if raw[6] != 1 {
		start, length = 12, int(binary.LittleEndian.Uint32(raw[8:]))
	}
	if length > len(raw)-start {
		return found, fmt.Errorf("a header that ends nowhere")
	}
	header, data := string(raw[start:start+length]), raw[start+length:]
	shape := shapeOf.FindStringSubmatch(header)
	if shape == nil || !strings.Contains(header, "'<f4'") || strings.Contains(header, "True") {
		return found, fmt.Errorf("not little-endian float32 in C order")
	}
	count := 1
	for _, word := range strings.FieldsFunc(shape[1], func(c rune) bool { return c == ',' || c == ' ' }) {
		size, err := strconv.Atoi(word)
		if err != nil || size > largest || count*size > largest {
			return found, fmt.Errorf("too large")
		}
		found.Shape, count = append(found.Shape, size), count*size
	}
	if len(data) < 4*count {
		return found, fmt.Errorf("fewer values than its shape says")
	}
	found.Values = make([]float32, count)
	for i := range found.Values {
		found.Values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return found, nil
}
