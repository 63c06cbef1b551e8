package doctor

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/engine/control"
	"weft/lease"
)

// A source is one file of a bundle.
type source struct {
	name string
	get  func(context.Context) ([]byte, error)
	// raw says that the file is no text, and made without secrets.
	raw bool
}

// A manifest tells what a bundle holds.
type manifest struct {
	Schema  int       `json:"schema"` // 1
	Time    time.Time `json:"time"`
	Files   []entry   `json:"files"`
	Missing []absence `json:"missing"` // what should be there, and why it is not
	Never   []absence `json:"never"`   // what is left out of every bundle
	Removed []string  `json:"removed"` // what was taken out of the files
}

type entry struct {
	Name string `json:"name"`
	Size int    `json:"size"` // bytes
}

type absence struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// never is what no bundle holds.
var never = []absence{
	{"keys, pre-shared keys, passwords and tokens", "they are secrets"},
	{"command lines, environments and configuration of the daemon", "they may hold passwords in any form"},
	{"logs", "they may hold what others wrote; add what is of use by hand"},
	{"payload of packets", "it is the pods'; packets are cut behind their headers"},
}

// maxFile is the most bytes of one file; a table of a hundred thousand routes fits.
const maxFile = 32 << 20

// bundle writes a bundle to a file or, for "-", to the standard output.
func (o outside) bundle(ctx context.Context, cmd *cobra.Command, name string, r control.Report, d daemon) error {
	list := append(daemonSources(r, d), o.gather...)
	data, err := pack(ctx, list, time.Now().UTC())
	if err != nil {
		return fmt.Errorf("--bundle=%s: %w", name, err)
	}
	if name == "-" {
		_, err = cmd.OutOrStdout().Write(data)
		return err
	}
	if err := lease.WriteFile(name, data, 0o600); err != nil {
		return fmt.Errorf("--bundle=%s: %w", name, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "weft doctor: wrote %s (%d bytes); it holds addresses and names of this network, so look into it before you pass it on\n", name, len(data))
	return nil
}

// pack makes the tar. A source that fails is named in the manifest.
func pack(ctx context.Context, list []source, now time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	m := manifest{Schema: 1, Time: now, Files: []entry{}, Missing: []absence{}, Never: never}
	for _, r := range rules {
		m.Removed = append(m.Removed, r.what)
	}
	m.Removed = append(m.Removed, "keys of 32 bytes in base64; what is in their place is the same for the same key")
	for _, s := range list {
		data, err := s.clean(ctx)
		if err != nil {
			m.Missing = append(m.Missing, absence{s.name, string(redact([]byte(err.Error())))})
			continue
		}
		if err := add(t, s.name, data, now); err != nil {
			return nil, err
		}
		m.Files = append(m.Files, entry{s.name, len(data)})
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := add(t, "manifest.json", append(text, '\n'), now); err != nil {
		return nil, err
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// clean gets a file without secrets.
func (s source) clean(ctx context.Context) ([]byte, error) {
	data, err := s.get(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxFile:
		return nil, fmt.Errorf("it has %d bytes", len(data))
	case s.raw:
		return data, nil
	case strings.HasSuffix(s.name, ".json"):
		return redactJSON(data)
	}
	return redact(data), nil
}

// folder is what the files of a bundle lie in.
const folder = "weft-doctor/"

func add(t *tar.Writer, name string, data []byte, now time.Time) error {
	h := &tar.Header{Name: folder + name, Mode: 0o600, Size: int64(len(data)), ModTime: now, Typeflag: tar.TypeReg}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}
