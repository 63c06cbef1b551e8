package filter

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// A reference is the program that libpcap makes of an expression.
type reference struct {
	code   []bpf.Instruction
	vm     *bpf.VM
	length bool // it asks for the packet's length, which may be more than the bytes there are
}

// needTcpdump skips the test where tcpdump, whose compiler is libpcap, is missing.
func needTcpdump(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("tcpdump is not installed: nothing to compare with")
	}
}

// libpcap compiles expr for raw IP, or returns what tcpdump says of it.
func libpcap(expr string, optimize bool) (*reference, error) {
	args := []string{"-y", "RAW", "-ddd"}
	if !optimize {
		args = append(args, "-O")
	}
	cmd := exec.Command("tcpdump", append(args, "--", expr)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	return parseDDD(out.String())
}

// parseDDD reads the numbers that tcpdump -ddd prints: their count, and a line of
// four for each instruction.
func parseDDD(text string) (*reference, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if n, err := strconv.Atoi(lines[0]); err != nil || n != len(lines)-1 {
		return nil, fmt.Errorf("%d lines after %q", len(lines)-1, lines[0])
	}
	var raw []bpf.RawInstruction
	for _, line := range lines[1:] {
		var in bpf.RawInstruction
		if _, err := fmt.Sscan(line, &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		raw = append(raw, in)
	}
	r := &reference{}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, fmt.Errorf("not understood: %v", code)
	}
	for i, in := range code {
		switch in := in.(type) {
		case bpf.LoadExtension:
			r.length = r.length || in.Num == bpf.ExtLen
		case bpf.NegateA: // the interpreter does not know it
			code[i] = bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: 1<<32 - 1}
		}
	}
	r.code = code
	vm, err := bpf.NewVM(code)
	r.vm = vm
	return r, err
}

// match runs the program on the first bytes of a packet that was length bytes long.
func (r *reference) match(b []byte, length int) (bool, error) {
	vm := r.vm
	if r.length && length != len(b) {
		code := append([]bpf.Instruction(nil), r.code...)
		for i, in := range code {
			if _, ok := in.(bpf.LoadExtension); ok {
				code[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(length)}
			}
		}
		var err error
		if vm, err = bpf.NewVM(code); err != nil {
			return false, err
		}
	}
	n, err := vm.Run(b)
	return n != 0, err
}
