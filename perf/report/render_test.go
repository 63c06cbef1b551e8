package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample is a run of two rounds over one wire with two planes and a third that
// was left out.
func sample() *Result {
	r := &Result{
		Environment: Environment{
			Time: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), Kernel: "6.18.44", CPU: "Test & Co", Cores: 2,
			MemoryBytes: 1 << 30, GoVersion: "go1.26", Mitigations: map[string]string{"mds": "Not affected", "retbleed": "Vulnerable"},
		},
		Settings: Settings{Rounds: 2, Seconds: 3, WarmupSeconds: 0.5, Base: "kernel-vxlan"},
		Planes:   []Plane{{Name: "kernel-vxlan", MTU: 1450}, {Name: "weft-udp", Program: "bin/weft", Env: []string{"A=1"}, MTU: 1472}},
		Memory:   &Memory{Leases: 1000, RSSBytes: 41 << 20, Peak: 42 << 20},
		Skipped:  map[string]string{"weft-plain": "no such file"},
		Failures: []string{"tcp4 on weft-udp over gso: nothing arrived\nmore"},
	}
	speeds := map[string][]float64{"kernel-vxlan": {10, 8}, "weft-udp": {8, 6}}
	for round := range 2 {
		for _, p := range r.Planes {
			c := cellOf(round+1, p.Name, speeds[p.Name][round])
			c.Values[StealShare] = 2
			if round == 1 {
				c.Flags = []string{"steal 2.0 %"}
			}
			r.Cells = append(r.Cells, c)
		}
	}
	return r
}

func TestMarkdown(t *testing.T) {
	text := Markdown(sample())
	for _, want := range []string{
		// The ratios of the rounds are 0.8 and 0.75.
		"| TCP 1 stream, weft-udp ÷ kernel-vxlan | gso | ≥ 0.75 | 0.78 (0.75–0.80) | reached |\n",
		"| TCP 1 stream, weft-udp ÷ kernel-vxlan | wire | ≥ 0.85 | – | not measured |\n",
		"| resident memory at 1,000 leases | – | ≤ 40 MiB | 41.0 MiB with 1000 leases | **not reached** |\n",
		"## TCP, 1 stream (gso)\n",
		"| weft-udp | 7.00 (6.00–8.00) | 0.78 | – | – | – | – |\n",
		"| kernel-vxlan | 9.00 (8.00–10.00) | 1.00 |",
		"- 2 of 4 cells: steal\n",
		"- plane weft-plain was left out: no such file\n",
		"- failed: tcp4 on weft-udp over gso: nothing arrived\n",
		"| plane weft-udp | MTU 1472, bin/weft A=1 |\n",
		"| retbleed | Vulnerable |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	for _, unwanted := range []string{"4 streams", "mds", "NaN", "more"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("unwanted: %s", unwanted)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestLimitedPlane checks that a plane which few loads were made on is shown
// with those alone, and that the report says so.
func TestLimitedPlane(t *testing.T) {
	r := sample()
	r.Planes = append(r.Planes, Plane{Name: "weft-to-kernel", MTU: 1450, Loads: []string{TCP1, UDP64}})
	for round := 1; round <= 2; round++ {
		r.Cells = append(r.Cells, cellOf(round, "weft-to-kernel", 3))
		for _, p := range r.Planes[:2] {
			c := cellOf(round, p.Name, 4)
			c.Load = TCP4
			r.Cells = append(r.Cells, c)
		}
	}
	text := Markdown(r)
	for _, want := range []string{
		"On weft-to-kernel only tcp1 and udp64 were measured",
		"| TCP 1 stream, weft-to-kernel ÷ kernel-vxlan | gso | ≥ 0.5 | 0.34 (0.30–0.38) | **not reached** |\n",
		"| tcp1, gso, weft-to-kernel |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n| weft-to-kernel |"); n != 1 {
		t.Errorf("the plane is in %d tables of loads, want in that of tcp1 alone", n)
	}
	if unwanted := "| tcp4, gso, weft-to-kernel |"; strings.Contains(text, unwanted) {
		t.Errorf("unwanted: %s", unwanted)
	}
	r.Planes[2].Loads = []string{UDP64}
	r.Cells = append(r.Cells, Cell{Round: 1, Wire: "gso", Plane: "weft-to-kernel", Load: UDP64, Values: map[string]float64{Kpps: 9}})
	files := Plots(r)
	for file, want := range map[string]bool{"packets.svg": true, "throughput.svg": false} {
		if strings.Contains(files[file], ">weft-to-kernel<") != want {
			t.Errorf("%s: is the plane drawn? want %v:\n%s", file, want, files[file])
		}
		checkCanvas(t, files[file])
	}
}

// TestWireGuardFigures checks the two sorts of figures that WireGuard has: a
// value of its own, and ratios to a plane that is not the base.
func TestWireGuardFigures(t *testing.T) {
	r := sample()
	loads := []string{TCP1, RR, RRLoaded, UDP64}
	r.Planes = append(r.Planes,
		Plane{Name: "wireguard-go", MTU: 1420, Loads: loads, Program: "bin/wireguard-go", Module: "example.com/wireguard@v1.2.3"},
		Plane{Name: "weft-wireguard", MTU: 1420, Loads: loads})
	for plane, values := range map[string]map[string]float64{
		"wireguard-go":   {Gbps: 2, P50: 4000, Kpps: 80, PlanePeak: 110},
		"weft-wireguard": {Gbps: 3, P50: 2100, Kpps: 100, PlanePeak: 63.96},
	} {
		for _, load := range loads {
			r.Cells = append(r.Cells, Cell{Round: 1, Wire: "gso", Plane: plane, Load: load, Values: values})
		}
	}
	text := Markdown(r)
	for _, want := range []string{
		"| plane wireguard-go | MTU 1420, bin/wireguard-go, example.com/wireguard@v1.2.3 |\n",
		"On weft-wireguard only tcp1, rr, rr-loaded and udp64 were measured",
		"| TCP 1 stream, weft-wireguard ÷ wireguard-go | gso | ≥ 1.3 | 1.50 | reached |\n",
		"| TCP 1 stream, weft-wireguard ÷ wireguard-go | wire | ≥ 1.5 | – | not measured |\n",
		"| UDP 64 B packets/s, weft-wireguard ÷ wireguard-go | gso | ≥ 1.3 | 1.25 | **not reached** |\n",
		"| p50 beside a TCP stream, weft-wireguard ÷ wireguard-go | gso | ≤ 0.5 | 0.53 | **not reached** |\n",
		"| peak memory under TCP 1 stream, weft-wireguard | gso | ≤ 64 MiB | 64.0 | reached |\n",
		"| peak memory under TCP 1 stream, weft-wireguard | wire | ≤ 64 MiB | – | not measured |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestMarkdownTablesAreRegular checks that the lines of every table have the
// same number of columns.
func TestMarkdownTablesAreRegular(t *testing.T) {
	columns := 0
	for line := range strings.Lines(Markdown(sample())) {
		n := strings.Count(line, "|")
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("%d columns after lines of %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestMemoryOfFewLeases(t *testing.T) {
	r := sample()
	r.Memory = &Memory{Leases: 50, RSSBytes: 1 << 20}
	if text, want := Markdown(r), "1.0 MiB with 50 leases | not measured |\n"; !strings.Contains(text, want) {
		t.Errorf("missing %q in\n%s", want, text)
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	text := Markdown(&Result{})
	for _, want := range []string{"not measured", "None: no cell was disturbed", "| commit | unknown |"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}

func TestPlots(t *testing.T) {
	r := sample()
	files := Plots(r)
	if len(files) != 1 {
		t.Errorf("%d plots, want throughput.svg alone", len(files))
	}
	drawing, ok := files["throughput.svg"]
	if !ok {
		t.Fatal("no throughput.svg")
	}
	for _, want := range []string{">1 stream (gso)<", ">weft-udp<", ">9<", ">7<"} {
		if !strings.Contains(drawing, want) {
			t.Errorf("no %q in\n%s", want, drawing)
		}
	}
	if strings.Count(drawing, "<path") != 2 {
		t.Errorf("want a whisker for each of two bars:\n%s", drawing)
	}
	checkCanvas(t, drawing)
}

// checkCanvas checks that a drawing is well-formed and that all its
// rectangles lie on the canvas.
func checkCanvas(t *testing.T, drawing string) {
	t.Helper()
	var width, height float64
	decoder := xml.NewDecoder(strings.NewReader(drawing))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, drawing)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		a := numbers(element)
		switch {
		case element.Name.Local == "svg":
			width, height = a["width"], a["height"]
		case element.Name.Local == "rect" && (a["x"] < 0 || a["y"] < 0 || a["height"] < 0 ||
			a["x"]+a["width"] > width || a["y"]+a["height"] > height):
			t.Errorf("rectangle %v is not on the canvas of %v × %v", a, width, height)
		}
	}
}

// numbers reads an element's attributes that are numbers.
func numbers(e xml.StartElement) map[string]float64 {
	a := make(map[string]float64)
	for _, attr := range e.Attr {
		if v, err := strconv.ParseFloat(attr.Value, 64); err == nil {
			a[attr.Name.Local] = v
		}
	}
	return a
}

// TestLegendFits checks that the canvas is as wide as the names of the planes.
func TestLegendFits(t *testing.T) {
	p := plot{groups: []group{{label: "g"}}}
	for range 12 {
		p.series = append(p.series, "a-plane-with-a-name")
		p.groups[0].bars = append(p.groups[0].bars, Summary{1, 1, 1, 1})
	}
	checkCanvas(t, p.svg())
}

func TestPlotNamesAreEscaped(t *testing.T) {
	p := plot{title: "a < b", series: []string{`<&">`}, groups: []group{{"g", []Summary{{1, 1, 1, 1}}}}}
	checkCanvas(t, p.svg())
}

func TestFiguresNameWhatIsMeasured(t *testing.T) {
	loads := make(map[string]bool)
	for _, table := range Tables {
		loads[table.Load] = true
	}
	type place struct{ title, wire string }
	seen := make(map[place]bool)
	for _, f := range Figures {
		if f.By != "" && f.Load == TCP1 && f.Title != "TCP 1 stream, "+f.Plane+" ÷ "+f.By {
			t.Errorf("figure %q divides %s by %s", f.Title, f.Plane, f.By)
		}
		if seen[place{f.Title, f.Wire}] {
			t.Errorf("figure %q (%s) is there twice", f.Title, f.Wire)
		}
		seen[place{f.Title, f.Wire}] = true
		if !loads[f.Load] {
			t.Errorf("figure %q: load %q has no table", f.Title, f.Load)
		}
	}
}
