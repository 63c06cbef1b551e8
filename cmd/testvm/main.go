package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// roleGuest is the argument by which the first process starts the guest.
const roleGuest = "guest"

// An options value is the command line.
type options struct {
	kernels, packages, run string
	mirror, cache          string
	update, keep, shell    bool
	boot, whole            time.Duration
	cpus, memory           int
	accel                  string
}

func main() {
	switch {
	case os.Getpid() == 1:
		runInit()
	case filepath.Base(os.Args[0]) == "modprobe":
		os.Exit(runModprobe(os.Args[1:]))
	case len(os.Args) == 2 && os.Args[1] == roleGuest:
		os.Exit(runGuest())
	}
	o := parseFlags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.host(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testvm:", err)
		os.Exit(1)
	}
}

func parseFlags() *options {
	cache, err := os.UserCacheDir() // without a home the flag must be given
	if err == nil {
		cache = filepath.Join(cache, "weft/vm")
	}
	var all []string
	for _, r := range releases {
		all = append(all, r.series)
	}
	o := &options{}
	flag.StringVar(&o.kernels, "kernel", strings.Join(all, ","), "`series` of kernels to boot")
	flag.StringVar(&o.packages, "pkg", "", "`folders` of packages to test, such as tunnel,cmd/e2e; default: all that depend on the kernel")
	flag.StringVar(&o.run, "run", "", "tests to run, a `regexp` as of go test, instead of each package's choice")
	flag.StringVar(&o.mirror, "mirror", "http://deb.debian.org", "`URL` with debian and debian-security below it")
	flag.StringVar(&o.cache, "cache", cache, "`folder` for kernels")
	flag.BoolVar(&o.update, "update", false, "look for newer kernels than the kept ones")
	flag.BoolVar(&o.keep, "keep", false, "keep images, binaries and consoles, and say where")
	flag.BoolVar(&o.shell, "shell", false, "instead of testing give me a shell in the first kernel; exit or Ctrl-A X ends it")
	flag.DurationVar(&o.boot, "boot-timeout", 2*time.Minute, "how long a kernel may take to start")
	flag.DurationVar(&o.whole, "timeout", 30*time.Minute, "how long a kernel may take altogether")
	flag.IntVar(&o.cpus, "cpus", 2, "processors of the machine")
	flag.IntVar(&o.memory, "memory", 4096, "memory of the machine, in MiB")
	flag.StringVar(&o.accel, "accel", "tcg", "qemu's accelerator: tcg emulates, kvm is faster where it works")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Run weft's tests on the kernels of Debian releases, in virtual machines.\nCall it in the module's folder.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "testvm: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	return o
}

// host prepares what all kernels share and then runs one after the other.
func (o *options) host(ctx context.Context) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("kernels and programs for amd64 are needed; this is %s", runtime.GOARCH)
	}
	chosen, err := chooseReleases(strings.Split(o.kernels, ","))
	if err != nil {
		return err
	}
	suites, err := choose(suites, strings.FieldsFunc(o.packages, func(r rune) bool { return r == ',' }), o.run)
	if err != nil {
		return err
	}
	if o.cache == "" {
		return errors.New("-cache: there is no home; name a folder")
	}
	if err := ensureTools(ctx); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "weft-testvm-")
	if err != nil {
		return err
	}
	if o.keep {
		defer fmt.Println("kept:", work)
	} else {
		defer os.RemoveAll(work)
	}
	if err := compile(ctx, work, suites); err != nil {
		return err
	}
	return o.each(ctx, work, chosen, suites)
}

// each tests on every kernel, whatever the others came to.
func (o *options) each(ctx context.Context, work string, chosen []release, suites []suite) error {
	var failed []string
	var reports []*report
	m := mirror{url: o.mirror, dir: o.cache, update: o.update}
	for _, r := range chosen {
		k, err := m.kernel(ctx, r)
		if err != nil {
			return err
		}
		if o.shell {
			return o.interact(ctx, work, k, suites)
		}
		rep, err := o.test(ctx, work, k, suites)
		if err != nil {
			return err
		}
		reports = append(reports, rep)
		if !rep.ok() {
			failed = append(failed, r.series)
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, r := range reports {
		r.print(os.Stdout)
	}
	if failed != nil {
		return fmt.Errorf("failed on kernel %s", strings.Join(failed, ", "))
	}
	return nil
}

func chooseReleases(series []string) (list []release, err error) {
	for _, s := range series {
		n := len(list)
		for _, r := range releases {
			if r.series == s {
				list = append(list, r)
			}
		}
		if len(list) == n {
			return nil, fmt.Errorf("-kernel: %q is none of the known series", s)
		}
	}
	return list, nil
}
