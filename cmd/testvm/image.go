package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An image is the first file system of the guest, before it is written. Names
// have no leading slash.
type image struct {
	files   map[string]file
	folders map[string]bool
}

// A file is a copy of one of the host's, or has content of its own.
type file struct {
	source  string
	content []byte
	mode    uint32 // type and permissions
}

// newImage has the folders of a system whose programs are all in usr/bin and
// whose libraries are below usr, and the few files of etc without which programs are confused.
func newImage() *image {
	m := &image{files: map[string]file{}, folders: map[string]bool{}}
	for _, d := range []string{"dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "var/tmp"} {
		m.folder(d)
	}
	for name, target := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		m.link(name, target)
	}
	m.link("var/run", "/run")
	m.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
	m.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	m.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	m.text("etc/hostname", "testvm\n")
	return m
}

func (m *image) text(name, content string) {
	m.put(name, file{content: []byte(content), mode: modeFile | 0o644})
}

func (m *image) link(name, target string) {
	m.put(name, file{content: []byte(target), mode: modeLink | 0o777})
}

// copy puts a file of the host into the image.
func (m *image) copy(name, source string, mode uint32) {
	m.put(name, file{source: source, mode: modeFile | mode})
}

func (m *image) json(name string, v any) error {
	data, err := json.Marshal(v)
	m.text(name, string(data))
	return err
}

// tree copies a folder of plain files and folders. That there is none is no
// error.
func (m *image) tree(name, source string) error {
	return filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) && p == source {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			m.folder(path.Join(name, rel))
		} else {
			m.copy(path.Join(name, rel), p, 0o644)
		}
		return nil
	})
}

func (m *image) put(name string, f file) {
	name = strings.TrimPrefix(name, "/")
	m.folder(path.Dir(name))
	m.files[name] = f
}

func (m *image) folder(name string) {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		m.folders[name] = true
	}
}

// has says whether something of that name was put into the image.
func (m *image) has(name string) bool {
	_, ok := m.files[strings.TrimPrefix(name, "/")]
	return ok
}

// write makes the archive. It is not compressed: to unpack would take an
// emulated processor longer than to read.
func (m *image) write(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	c := &cpioWriter{w: b}
	for _, d := range slices.Sorted(maps.Keys(m.folders)) { // sorted: parents come first
		if err := c.add(entry{name: d, mode: modeDir | 0o755}, nil); err != nil {
			return err
		}
	}
	// The first process has no output without these two.
	c.add(entry{name: "dev/console", mode: modeChar | 0o600, major: 5, minor: 1}, nil)
	c.add(entry{name: "dev/null", mode: modeChar | 0o666, major: 1, minor: 3}, nil)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if err := m.files[name].write(c, name); err != nil {
			return err
		}
	}
	if err := c.close(); err != nil {
		return err
	}
	return b.Flush()
}

func (f file) write(c *cpioWriter, name string) error {
	if f.source == "" {
		return c.add(entry{name: name, mode: f.mode, size: int64(len(f.content))}, bytes.NewReader(f.content))
	}
	src, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file", f.source)
	}
	return c.add(entry{name: name, mode: f.mode, size: info.Size()}, src)
}
