// Package progress shows people, and the programs that read their logs, how far a job is: a bar on a
// terminal, a plain line now and then when piped, JSON lines when asked for.
package progress

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// every is the time between two lines of progress where there is no terminal.
const every = 5 * time.Second

// Progress reports on one job, one phase after another. It is safe for several goroutines.
type Progress struct {
	log  *slog.Logger
	tty  *mpb.Progress // nil: lines
	hook func(items int64)

	mu    sync.Mutex
	phase string
	total int64
	count Count
	begun time.Time
	last  time.Time
	bar   *mpb.Bar
}

// Count is what a phase has got through.
type Count struct{ Items, Bytes, Rejects int64 }

// New writes to w: a bar if it is a terminal, JSON if asked for.
func New(w *os.File, json bool) *Progress {
	if json {
		return &Progress{log: slog.New(slog.NewJSONHandler(w, nil))}
	}
	p := &Progress{log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: dropLevel}))}
	if term.IsTerminal(int(w.Fd())) {
		p.tty = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
	}
	return p
}

// Discard reports to nobody.
func Discard() *Progress {
	return &Progress{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// dropLevel leaves out what every line would say alike.
func dropLevel(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && a.Value.String() == slog.LevelInfo.String() {
		return slog.Attr{}
	}
	return a
}

// Log is the logger that the progress is written to.
func (p *Progress) Log() *slog.Logger { return p.log }

// Start begins a phase of total items; 0 means that the number is not known.
func (p *Progress) Start(phase string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.total, p.count, p.begun = phase, total, Count{}, time.Now()
	p.last = p.begun
	if p.tty == nil {
		return
	}
	p.bar = p.tty.AddBar(total,
		mpb.PrependDecorators(decor.Name(phase, decor.WC{W: 8, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(p.rate, decor.WC{W: 10}), decor.Name(" ETA "), decor.AverageETA(decor.ET_STYLE_GO), decor.Any(p.details)),
	)
}

// rate and details are called by the bar's own goroutine.
func (p *Progress) rate(decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%.0f/s", p.perSecond())
}

func (p *Progress) details(decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := ""
	if p.count.Bytes > 0 {
		s += "  " + humanize.IBytes(uint64(p.count.Bytes))
	}
	if p.count.Rejects > 0 {
		s += fmt.Sprintf("  %d rejected", p.count.Rejects)
	}
	return s
}

func (p *Progress) perSecond() float64 {
	return float64(p.count.Items) / max(time.Since(p.begun).Seconds(), 1e-9)
}

// Add counts what is done.
func (p *Progress) Add(c Count) {
	p.mu.Lock()
	p.count.Items += c.Items
	p.count.Bytes += c.Bytes
	p.count.Rejects += c.Rejects
	bar := p.bar
	items := p.count.Items
	line := p.tty == nil && time.Since(p.last) >= every
	if line {
		p.last = time.Now()
		p.line("working")
	}
	p.mu.Unlock()
	if bar != nil {
		bar.IncrInt64(c.Items)
	}
	if p.hook != nil {
		p.hook(items)
	}
}

func (p *Progress) line(message string) {
	attrs := []any{"phase", p.phase, "done", p.count.Items}
	if p.total > 0 {
		attrs = append(attrs, "of", p.total)
	}
	attrs = append(attrs, "per_second", int64(p.perSecond()))
	if rate := p.perSecond(); p.total > p.count.Items && rate > 0 {
		left := time.Duration(float64(p.total-p.count.Items) / rate * float64(time.Second))
		attrs = append(attrs, "eta", left.Round(time.Second).String())
	}
	if p.count.Bytes > 0 {
		attrs = append(attrs, "bytes", p.count.Bytes)
	}
	attrs = append(attrs, "rejected", p.count.Rejects)
	p.log.Info(message, attrs...)
}

// Finish ends the phase and returns how long it took.
func (p *Progress) Finish() time.Duration {
	p.mu.Lock()
	took := time.Since(p.begun)
	bar := p.bar
	p.bar = nil
	if p.tty == nil {
		p.log.Info("done", "phase", p.phase, "items", p.count.Items, "seconds", took.Seconds(), "rejected", p.count.Rejects)
	}
	p.mu.Unlock()
	if bar != nil {
		bar.SetTotal(-1, true)
		bar.Wait()
	}
	return took
}

// Close restores the terminal, also where a phase was cut short.
func (p *Progress) Close() {
	p.mu.Lock()
	bar := p.bar
	p.bar = nil
	p.mu.Unlock()
	if bar != nil {
		bar.Abort(false)
	}
	if p.tty != nil {
		p.tty.Wait()
	}
}

// Every calls do with the items done in the current phase whenever there are more; for tests.
func Every(do func(items int64)) *Progress {
	p := Discard()
	p.hook = do
	return p
}
