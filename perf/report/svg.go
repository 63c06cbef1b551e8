package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A plot is a bar plot: groups of bars, one bar per series, with whiskers from
// the least to the largest value.
type plot struct {
	title  string
	unit   string
	series []string
	groups []group
}

type group struct {
	label string
	bars  []Summary // one per series; N 0 where there is none
}

// Measures of the drawing in pixels.
const (
	barWidth     = 34
	groupGap     = 36
	plotHeight   = 280
	marginLeft   = 64
	marginTop    = 76
	marginBottom = 44
	minimumWidth = 420
)

// colours are one per series, told apart by most colour-blind eyes (Okabe and
// Ito's palette, and a wine red of Tol's), and used again when they run out.
var colours = []string{
	"#999999", "#0072b2", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#882255",
}

// svg draws the plot.
func (p *plot) svg() string {
	top := 0.0
	for _, g := range p.groups {
		for _, s := range g.bars {
			top = max(top, s.Max)
		}
	}
	step, ticks := scale(top)
	y := func(v float64) float64 { return marginTop + plotHeight*(1-v/(step*float64(ticks))) }
	groupWidth := barWidth*len(p.series) + groupGap
	width := max(minimumWidth, marginLeft+groupWidth*len(p.groups)+groupGap, p.legendEnd(len(p.series)))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		width, marginTop+plotHeight+marginBottom)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="15" font-weight="bold">%s</text>`+"\n", marginLeft, html.EscapeString(p.title))
	for i := range ticks + 1 {
		v := step * float64(i)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`+"\n", marginLeft, y(v), width-8, y(v))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", marginLeft-6, y(v)+4, number(v))
	}
	fmt.Fprintf(&b, `<text x="14" y="%d" transform="rotate(-90 14 %d)" text-anchor="middle">%s</text>`+"\n",
		marginTop+plotHeight/2, marginTop+plotHeight/2, html.EscapeString(p.unit))
	p.legend(&b)
	for i, g := range p.groups {
		left := marginLeft + groupGap/2 + i*groupWidth
		for j, s := range g.bars {
			drawBar(&b, left+j*barWidth, s, y, colours[j%len(colours)])
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n",
			left+barWidth*len(g.bars)/2, marginTop+plotHeight+22, html.EscapeString(g.label))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// legendEnd is where the names of the first n series end in the legend.
func (p *plot) legendEnd(n int) int {
	x := marginLeft
	for _, name := range p.series[:n] {
		x += 30 + 7*len(name)
	}
	return x
}

// legend names the series in a line below the title.
func (p *plot) legend(b *strings.Builder) {
	for i, name := range p.series {
		x := p.legendEnd(i)
		fmt.Fprintf(b, `<rect x="%d" y="34" width="12" height="12" fill="%s"/>`, x, colours[i%len(colours)])
		fmt.Fprintf(b, `<text x="%d" y="44">%s</text>`+"\n", x+16, html.EscapeString(name))
	}
}

// drawBar draws the median as a bar with its value above and the spread as a
// whisker.
func drawBar(b *strings.Builder, x int, s Summary, y func(float64) float64, colour string) {
	if s.N == 0 {
		return
	}
	middle := float64(x) + (barWidth-4)/2
	fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="%s"/>`+"\n",
		x, y(s.Median), barWidth-4, y(0)-y(s.Median), colour)
	if s.N > 1 {
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8" stroke="black" fill="none"/>`+"\n",
			middle, y(s.Min), y(s.Max), middle-4, y(s.Min), middle-4, y(s.Max))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10">%s</text>`+"\n",
		middle, y(s.Max)-5, number(s.Median))
}

// scale chooses the step and number of the ticks so that top fits below the
// last one: a step of 1, 2 or 5 times a power of ten.
func scale(top float64) (step float64, ticks int) {
	if top <= 0 {
		return 1, 1
	}
	power := math.Pow(10, math.Floor(math.Log10(top)))
	for _, factor := range []float64{0.1, 0.2, 0.5, 1, 2} {
		step = factor * power
		if top/step <= 8 {
			break
		}
	}
	return step, int(math.Ceil(top / step))
}

// number writes v with about three digits.
func number(v float64) string {
	switch {
	case v == 0 || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
