package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A module is a kernel module and what it says about itself. A kernel package
// brings no modules.dep, which depmod would make of the same facts when the
// package is installed.
type module struct {
	Name    string   // with underscores
	Path    string   // below the folder of all modules
	Depends []string // names of modules that come first
	Aliases []string // patterns by which the kernel asks for it
}

// An index is every module that can be had, by name.
type index map[string]module

// readIndex reads all modules below a folder.
func readIndex(dir string) (index, error) {
	x := index{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.Contains(d.Name(), ".ko."):
			return fmt.Errorf("module %s: compressed modules are not supported", p)
		case path.Ext(p) != ".ko":
			return nil
		}
		m, err := readModule(p)
		if err != nil {
			return fmt.Errorf("module %s: %w", p, err)
		}
		if m.Path, err = filepath.Rel(dir, p); err != nil {
			return err
		}
		x[m.Name] = m
		return nil
	})
	if err == nil && len(x) == 0 {
		err = fmt.Errorf("no kernel modules below %s", dir)
	}
	return x, err
}

func readModule(file string) (module, error) {
	f, err := elf.Open(file)
	if err != nil {
		return module{}, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return module{}, fmt.Errorf("no section .modinfo")
	}
	info, err := s.Data()
	m := parseModinfo(info)
	m.Name = moduleName(strings.TrimSuffix(filepath.Base(file), ".ko"))
	return m, err
}

// parseModinfo reads the key=value strings that end with NUL (MODULE_INFO in
// the kernel's include/linux/moduleparam.h).
func parseModinfo(info []byte) (m module) {
	for s := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(s), "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.Depends = append(m.Depends, moduleName(name))
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, value)
		}
	}
	return m
}

// moduleName makes file names and module names the same, as modprobe does.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// within returns the modules whose path lies below one of the folders, and
// what they depend on.
func (x index) within(folders ...string) (index, error) {
	some := index{}
	for _, m := range x {
		if !slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(m.Path, f) }) {
			continue
		}
		list, err := x.order(m.Name)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			some[m.Name] = m
		}
	}
	return some, nil
}

// find returns the names of the modules that answer a request, which is a name
// or something that aliases match; none is no error here.
func (x index) find(request string) (names []string) {
	if m, ok := x[moduleName(request)]; ok {
		return []string{m.Name}
	}
	for _, m := range x {
		if slices.ContainsFunc(m.Aliases, func(pattern string) bool {
			ok, err := path.Match(moduleName(pattern), moduleName(request))
			return ok && err == nil // a pattern that is none matches nothing
		}) {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// order returns the named module last, and before it all it depends on, each
// before those that need it.
func (x index) order(name string) (list []module, err error) {
	state := map[string]int{} // 1 while its dependencies are looked at, 2 after
	var visit func(name, by string) error
	visit = func(name, by string) error {
		m, ok := x[name]
		switch {
		case !ok:
			return fmt.Errorf("module %s, which %s needs, is missing", name, by)
		case state[name] == 1:
			return fmt.Errorf("module %s depends on itself by way of %s", name, by)
		case state[name] == 2:
			return nil
		}
		state[name] = 1
		for _, d := range m.Depends {
			if err := visit(d, name); err != nil {
				return err
			}
		}
		state[name] = 2
		list = append(list, m)
		return nil
	}
	return list, visit(name, "the request")
}
