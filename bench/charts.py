"""Charts as SVG."""

from xml.sax.saxutils import escape

ROW, LEFT, WIDTH, TOP = 34, 210, 420, 46


def bars(path, title, cases):
    """A bar a case: (name, value, limit), the limit as a mark."""
    most = max(max(value, limit) for _, value, limit in cases) * 1.15
    x = lambda value: LEFT + WIDTH * value / most
    height = TOP + ROW * len(cases) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 70} {height}" font-family="sans-serif" font-size="13">']
    parts.append('<rect width="100%" height="100%" fill="#fff"/>')
    parts.append(f'<text x="10" y="24" font-size="15" font-weight="bold" fill="#222">{escape(title)}</text>')
    for i, (name, value, limit) in enumerate(cases):
        y = TOP + ROW * i
        colour = "#2a78b5" if value <= limit else "#b5442a"
        parts.append(f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end" fill="#222">{escape(name)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{max(x(value) - LEFT, 1):.1f}" height="22" fill="{colour}"/>')
        parts.append(f'<line x1="{x(limit):.1f}" x2="{x(limit):.1f}" y1="{y - 4}" y2="{y + 26}" stroke="#222" stroke-dasharray="3 2"/>')
        parts.append(f'<text x="{x(max(value, limit)) + 8:.1f}" y="{y + 16}" fill="#222">{value:.2f}x</text>')
    parts.append(f'<line x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{TOP - 8}" y2="{height - 26}" stroke="#999"/>')
    parts.append(f'<text x="{LEFT}" y="{height - 8}" fill="#666">1 = the small case (grey line); dashed: the limit</text>')
    parts.append("</svg>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
