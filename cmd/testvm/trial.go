package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// needed are loaded at once, so that the report can say whether they are there.
// The kernel asks for all others when somebody uses them.
var needed = []string{"tun", "veth", "bridge", "vxlan", "wireguard", "nf_tables", "x_tables"}

// moduleFolders are those of the kernel's source tree whose modules tests may
// come to need, besides what these depend on.
var moduleFolders = []string{"kernel/net/", "kernel/drivers/net/tun.ko", "kernel/drivers/net/veth.ko",
	"kernel/drivers/net/vxlan", "kernel/drivers/net/wireguard/", "kernel/drivers/net/dummy.ko", "kernel/drivers/net/ifb.ko"}

// build makes the image for a kernel.
func build(ctx context.Context, work string, k kernel, p plan, suites []suite) (string, error) {
	m := newImage()
	all, err := readIndex(k.modules)
	if err != nil {
		return "", err
	}
	some, err := all.within(moduleFolders...)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(some)) {
		m.copy(path.Join(guestModules, some[name].Path), filepath.Join(k.modules, some[name].Path), 0o644)
	}
	if err := m.json(guestIndex, some); err != nil {
		return "", err
	}
	if err := m.json(guestPlan, p); err != nil {
		return "", err
	}
	if err := m.addTests(work, suites); err != nil {
		return "", err
	}
	if err := m.addPrograms(ctx); err != nil {
		return "", err
	}
	file := filepath.Join(work, k.series+".cpio")
	return file, m.write(file)
}

func (o *options) machine(work, image string, k kernel) machine {
	return machine{kernel: k.image, image: image, console: filepath.Join(work, k.series+".console"),
		cpus: o.cpus, memory: o.memory, accel: o.accel, boot: o.boot, whole: o.whole}
}

func (o *options) interact(ctx context.Context, work string, k kernel, suites []suite) error {
	image, err := build(ctx, work, k, plan{Modules: needed, Shell: true}, suites)
	if err != nil {
		return err
	}
	return o.machine(work, image, k).interact(ctx)
}

// test boots a kernel and tells what is going on. An error means that it did
// not even come to that; everything else is in the report.
func (o *options) test(ctx context.Context, work string, k kernel, suites []suite) (*report, error) {
	image, err := build(ctx, work, k, plan{Modules: needed, Steps: steps(suites)}, suites)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%s: booting %s\n", k.series, filepath.Base(k.image))
	m := o.machine(work, image, k)
	r := &report{series: k.series, modules: map[string]string{}, features: map[string]string{}}
	began := time.Now()
	log, err := os.Create(filepath.Join(work, k.series+".output"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	err = m.run(ctx, func(e event) {
		r.take(e, time.Since(began))
		progress(k.series, r, e)
		if e.Kind == eventOutput {
			fmt.Fprintln(log, strings.TrimPrefix(e.Text, marker))
		}
	})
	if err != nil {
		r.stop(fmt.Errorf("%w; the kernel's last words:\n%s", err, consoleTail(m.console, 30)))
	}
	return r, os.Remove(image)
}

// progress says what the machine is at.
func progress(series string, r *report, e event) {
	if e.Kind == eventBoot {
		fmt.Printf("%s: %s booted after %.1f s\n", series, e.Text, r.boot.Seconds())
	}
	if len(r.steps) == 0 {
		return
	}
	s := r.steps[len(r.steps)-1]
	switch e.Kind {
	case eventOutput:
		if v := s.verdict; v.test != "" && (v.how == "FAIL" || !strings.Contains(v.test, "/")) {
			fmt.Printf("%s: %s: %s %s %s\n", series, s.name, v.how, v.test, v.took)
		}
		s.verdict = verdict{}
	case eventStart:
		fmt.Printf("%s: %s ...\n", series, e.Name)
	case eventEnd:
		fmt.Printf("%s: %s: %d passed, %d failed, %d skipped after %.0f s%s\n", series, e.Name, s.passed, s.failed, s.skipped, s.seconds, s.remark())
	}
}
