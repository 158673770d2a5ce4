"""A figure of the tables: what is wanted, what was measured, and whether that is enough."""

from dataclasses import dataclass

from harness import median


@dataclass
class Figure:
    name: str
    target: str = ""
    ours: str = ""
    other: str = ""
    ratio: str = ""
    met: bool | None = None  # None: nothing was asked for

    def line(self):
        verdict = {True: "met", False: "**not met**", None: ""}[self.met]
        return f"| {self.name} | {self.target} | {self.ours} | {self.other} | {self.ratio} | {verdict} |"


HEAD = "| figure | target | Millstream | beside it | ratio | |\n|---|---|---|---|---|---|"


def table(figures):
    return "\n".join([HEAD, *(figure.line() for figure in figures)])


def show(figures):
    """Prints them at once: a run is long."""
    print("\n".join(figure.line() for figure in figures), flush=True)
    return figures


def at_least(name, wanted, ours, other, beside, form="{:,.0f}"):
    """Ours is to be `wanted` times the other's."""
    ratio = ours / other if other else float("nan")
    return Figure(name, f"at least {wanted:g}x", form.format(ours), f"{form.format(other)} {beside}", f"{ratio:.2f}x", ratio >= wanted)


def at_most(name, wanted, ours, other, beside, form="{:,.2f}"):
    """Ours, a cost, is to be at most `wanted` times the other's."""
    ratio = ours / other if other else float("nan")
    return Figure(name, f"at most {wanted:g}x", form.format(ours), f"{form.format(other)} {beside}", f"{ratio:.2f}x", ratio <= wanted)


def below(name, limit, ours, unit, form="{:,.0f}"):
    """Ours is to be at most the limit."""
    return Figure(name, f"at most {limit:g} {unit}", f"{form.format(ours)} {unit}", met=ours <= limit)


def mid(samples, of):
    """The median of what `of` finds in each sample."""
    return median([of(sample) for sample in samples])
