package main

import (
	"fmt"
	"io"
)

// File types of an archive's modes, as in stat(2).
const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeFile = 0o100000
	modeLink = 0o120000
)

// An entry is one file of a cpio archive. Everything belongs to root.
type entry struct {
	name         string // without a leading slash
	mode         uint32 // type and permissions
	major, minor uint32 // of a device
	size         int64  // bytes of the content; of a link, of its target
}

// A cpioWriter writes the "newc" format, which is what kernels unpack as their
// first file system (Documentation/driver-api/early-userspace/buffer-format.rst):
//
//	"070701" │ 13 numbers of 8 hex digits │ name NUL │ pad to 4 │ content │ pad to 4
//
// After an error it writes no more, and every further call returns that error.
type cpioWriter struct {
	w       io.Writer
	inode   uint32
	written int64
	err     error
}

// add writes one entry and exactly e.size bytes of content.
func (c *cpioWriter) add(e entry, content io.Reader) error {
	c.inode++
	c.header(e, c.inode)
	if c.err == nil && e.size > 0 {
		n, err := io.CopyN(c.w, content, e.size)
		c.written += n
		if err != nil {
			c.err = fmt.Errorf("cpio: %s: %d of %d bytes: %w", e.name, n, e.size, err)
		}
	}
	c.pad(4)
	return c.err
}

// close writes the trailer. The underlying writer stays open.
func (c *cpioWriter) close() error {
	c.header(entry{name: "TRAILER!!!"}, 0)
	c.pad(512)
	return c.err
}

func (c *cpioWriter) header(e entry, inode uint32) {
	const links, zero = 1, 0
	if e.size < 0 || e.size > 0xffffffff {
		c.fail(fmt.Errorf("cpio: %s: %d bytes do not fit the format", e.name, e.size))
		return
	}
	c.print("070701")
	for _, n := range []uint32{inode, e.mode, zero, zero, links, zero, uint32(e.size),
		zero, zero, e.major, e.minor, uint32(len(e.name) + 1), zero} {
		c.print(fmt.Sprintf("%08x", n))
	}
	c.print(e.name + "\x00")
	c.pad(4)
}

// pad fills with zeros up to a multiple of n bytes.
func (c *cpioWriter) pad(n int64) {
	if over := c.written % n; over != 0 {
		c.print(string(make([]byte, n-over)))
	}
}

func (c *cpioWriter) print(s string) {
	if c.err != nil {
		return
	}
	n, err := io.WriteString(c.w, s)
	c.written += int64(n)
	c.fail(err)
}

func (c *cpioWriter) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}
