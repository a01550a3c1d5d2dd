package main

import (
	"errors"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

const (
	pictureWidth  = 1200 // pixels
	pictureHeight = 960
	pictureDPI    = 96
	pictureFoot   = vg.Length(36) // under the panels, for the legend of the stacks
)

// stackColors tell stacks apart, for those too who don't see all colors.
var stackColors = map[string]color.Color{
	"wsctl":             color.RGBA{R: 0x00, G: 0x5A, B: 0xB5, A: 0xFF},
	"wsctl, no parking": color.RGBA{R: 0x56, G: 0xB4, B: 0xE9, A: 0xFF},
	"wsctl v1":          color.RGBA{R: 0x00, G: 0x9E, B: 0x73, A: 0xFF},
	baseline:            color.RGBA{R: 0xD5, G: 0x5E, B: 0x00, A: 0xFF},
}

// curveDashes tell curves of a panel apart, in their order.
var curveDashes = [][]vg.Length{nil, {vg.Points(6), vg.Points(3)}, {vg.Points(1.5), vg.Points(2.5)}}

func init() { plot.DefaultFont.Variant = "Sans" }

// drawGrowth draws the panels into a PNG file.
func drawGrowth(file string, rows []row) (err error) {
	const columns = 2
	tiles := draw.Tiles{
		Rows: (len(panels) + columns - 1) / columns, Cols: columns,
		PadTop: vg.Points(10), PadRight: vg.Points(16), PadLeft: vg.Points(10), PadX: vg.Points(18), PadY: vg.Points(16),
	}
	plots := make([][]*plot.Plot, tiles.Rows)
	for i, p := range panels {
		drawn, err := p.plot(rows)
		if err != nil {
			return err
		}
		plots[i/columns] = append(plots[i/columns], drawn)
	}
	img := vgimg.NewWith(
		vgimg.UseWH(vg.Length(pictureWidth)*vg.Inch/pictureDPI, vg.Length(pictureHeight)*vg.Inch/pictureDPI),
		vgimg.UseDPI(pictureDPI))
	canvas := draw.New(img)
	for i, line := range plot.Align(plots, tiles, draw.Crop(canvas, 0, 0, pictureFoot, 0)) {
		for j, c := range line {
			plots[i][j].Draw(c)
		}
	}
	drawStacks(canvas)
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = vgimg.PngCanvas{Canvas: img}.WriteTo(f)
	return err
}

// plot makes the panel's part of the picture.
func (p panel) plot(rows []row) (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text = p.title
	drawn.Title.TextStyle.Font.Size = 14
	drawn.Title.Padding = vg.Points(6)
	drawn.X.Label.Text, drawn.Y.Label.Text = p.size, p.unit
	drawn.X.Label.TextStyle.Font.Size, drawn.Y.Label.TextStyle.Font.Size = 11, 11
	drawn.X.Label.Padding = vg.Points(3)
	drawn.X.Scale, drawn.X.Tick.Marker = plot.LogScale{}, p.ticks()
	drawn.X.Min, drawn.X.Max = float64(p.sizes[0]), float64(p.sizes[len(p.sizes)-1])
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xDD}, color.Gray{Y: 0xDD}
	drawn.Add(grid)
	most := 0.0
	for i, c := range p.curves {
		for _, name := range p.stacksOf(c, rows) {
			var points plotter.XYs
			for _, n := range p.sizes {
				if r, ok := find(rows, fmt.Sprintf(c.work, n), name); ok {
					points = append(points, plotter.XY{X: float64(n), Y: r.figure})
					most = max(most, r.figure)
				}
			}
			line, dots, err := plotter.NewLinePoints(points)
			if err != nil {
				return nil, err
			}
			line.LineStyle = lineStyle(stackColors[name], i)
			dots.GlyphStyle = draw.GlyphStyle{Color: stackColors[name], Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
			drawn.Add(line, dots)
		}
		if c.label != "" {
			drawn.Legend.Add(c.label, &plotter.Line{LineStyle: lineStyle(color.Gray{Y: 0x40}, i)})
		}
	}
	drawn.Legend.Left, drawn.Legend.ThumbnailWidth, drawn.Legend.TextStyle.Font.Size = true, vg.Points(30), 10
	drawn.Legend.XOffs, drawn.Legend.YOffs, drawn.Legend.Padding = vg.Points(8), vg.Points(8), vg.Points(3)
	// From 0, so that the eye can compare heights.
	ticks := ticksTo(most)
	drawn.Y.Tick.Marker, drawn.Y.Min, drawn.Y.Max = ticks, 0, ticks[len(ticks)-1].Value
	return drawn, nil
}

// ticks are at the sizes, and each has a label.
func (p panel) ticks() plot.ConstantTicks {
	var all plot.ConstantTicks
	for _, n := range p.sizes {
		all = append(all, plot.Tick{Value: float64(n), Label: grouped(n)})
	}
	return all
}

// ticksTo returns the ticks of an axis from 0 to at least most: not many, and at round values.
func ticksTo(most float64) (all plot.ConstantTicks) {
	const enough = 7 // steps
	step := 1
	for decade := 1; float64(enough*step) < most; decade *= 10 {
		for _, factor := range []int{1, 2, 5} {
			if step = factor * decade; float64(enough*step) >= most {
				break
			}
		}
	}
	for n := 0; ; n += step {
		all = append(all, plot.Tick{Value: float64(n), Label: grouped(n)})
		if n > 0 && float64(n) >= most {
			return all
		}
	}
}

func lineStyle(c color.Color, curve int) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: vg.Points(1.8), Dashes: curveDashes[curve]}
}

// drawStacks draws a line with the color of each stack at the bottom.
func drawStacks(canvas draw.Canvas) {
	style := plot.New().Legend.TextStyle
	style.Font.Size, style.YAlign = 12, draw.YCenter
	stacks := growthStacks()
	part := (canvas.Max.X - canvas.Min.X) / vg.Length(len(stacks))
	for i, s := range stacks {
		const sample, gap = vg.Length(30), vg.Length(6)
		width := sample + gap + style.Width(s.name)
		left := canvas.Min.X + vg.Length(i)*part + (part-width)/2
		middle := canvas.Min.Y + pictureFoot/2
		canvas.StrokeLine2(lineStyle(stackColors[s.name], 0), left, middle, left+sample, middle)
		canvas.FillText(style, vg.Point{X: left + sample + gap, Y: middle}, s.name)
	}
}
