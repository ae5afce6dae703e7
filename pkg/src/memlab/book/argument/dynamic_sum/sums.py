"""Stock Transformer blocks written as sums Σ_j α_j(x) σ(w_j(x)·x + b_j(x)) whose coefficients move
with the input.

A block maps X (tokens × dim) to Y of the same shape. With x = vec(X), row by row, matrices act as
vec(AXB) = (A ⊗ Bᵀ) vec(X), and the block is exactly

    y = M(x) x + m(x) + α(x) σ(W(x) x + b(x)) + c.

Attention weights and the scales of the norms are read off at x; everything else is the block's own
parameters. This is an identity at each x. It is no statement about approximation: see the chapter
"Is a Transformer such a sum?".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memlab.book.argument.universal_approximation.finite_sum import FiniteSum
from memlab.models.blocks import Activation, Call, Parts, parts


@dataclass(frozen=True)
class DynamicSum:
    """A block's coefficients as they are at one input: y = M x + m + alpha σ(W x + b) + constant.

    `M`, `m` are the path around the feed-forward layer (skip connection and attention), which has
    no σ in it.
    """

    M: Float[Tensor, "out in"]
    m: Float[Tensor, " out"]
    W: Float[Tensor, "unit in"]
    b: Float[Tensor, " unit"]
    alpha: Float[Tensor, "out unit"]
    constant: Float[Tensor, " out"]
    sigma: Activation

    def evaluate(self, X: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        """The sum with these coefficients at X: the block's output where they were computed, else
        the frozen form."""
        x = X.reshape(-1)
        y = self.M @ x + self.m + self.alpha @ self.sigma(self.W @ x + self.b) + self.constant
        return y.reshape(X.shape)

    def folded(self, X: Float[Tensor, "token dim"]) -> DynamicSum:
        """Other coefficients that give the same value at X: every bias is folded into its weights,
        b = (b xᵀ/xᵀx) x."""
        row = X.reshape(-1) / X.square().sum()
        outer_bias = self.m + self.constant
        return replace(
            self,
            M=self.M + torch.outer(outer_bias, row),
            m=torch.zeros_like(self.m),
            W=self.W + torch.outer(self.b, row),
            b=torch.zeros_like(self.b),
            constant=torch.zeros_like(self.constant),
        )

    def as_finite_sum(self) -> FiniteSum:
        """The same function as one sum of units, the affine path included: z = σ(z) − σ(−z), two
        units a coordinate.

        A unit with w = 0 carries the constant. Raises ValueError for an activation without that
        property.
        """
        z = torch.linspace(
            -4,
            4,
            33,
            dtype=self.m.dtype,
            device=self.m.device,
        )
        gap = float((self.sigma(z) - self.sigma(-z) - z).abs().max())
        if gap > 1e-5:
            raise ValueError(
                "expected an activation with σ(z) − σ(−z) = z (ReLU, GELU, SiLU), got a gap of"
                f" {gap:.2g}"
            )
        one = torch.eye(len(self.m), dtype=z.dtype, device=z.device)
        always_on = z[-1:]
        constant = self.constant / self.sigma(always_on)
        return FiniteSum(
            alpha=torch.cat([self.alpha, one, -one, constant[:, None]], 1),
            W=torch.cat([self.W, self.M, -self.M, torch.zeros_like(self.W[:1])]),
            b=torch.cat([self.b, self.m, -self.m, always_on]),
            sigma=self.sigma,
        )


def trivial_form(
    f: Callable[[Tensor], Tensor],
    X: Float[Tensor, "token dim"],
    sigma: Activation,
) -> DynamicSum:
    """Any function at all in the form of a sum, with error 0 at X: no slope, α = f(X) on units that
    are always on.

    The unit is fed the constant 1 and α divided by σ(1), which must not be 0.
    """
    y = f(X).reshape(-1)
    level = sigma(X.new_ones(1))
    zeros = X.new_zeros(len(y))
    no_slope = X.new_zeros(len(y), X.numel())
    return DynamicSum(
        M=no_slope,
        m=zeros,
        W=no_slope,
        b=zeros + 1,
        alpha=torch.diag(y / level),
        constant=zeros,
        sigma=sigma,
    )


@torch.no_grad()
def dynamic_sum(call: Call) -> DynamicSum:
    """The coefficients of a stock block at call.X; `evaluate(call.X)` of the result is call.Y up to
    rounding."""
    p = parts(call.block)
    X = call.X
    x = X.reshape(-1)
    M, m = _attention_path(p, X, call.P)
    N2, n2 = p.norms[1].affine((M @ x + m).reshape(X.shape))
    F = N2 @ M  # what the feed-forward layer is fed: F x + f
    f = N2 @ m + n2
    W1, b1 = p.gate
    W2, b2 = p.down
    inner = _each_token(W1, X)
    alpha = _each_token(W2, X)
    if p.up is not None:
        # SwiGLU: the linear half of the gate becomes the output weight of its unit.
        up, up_bias = p.up
        fed = (F @ x + f).reshape(X.shape)
        alpha = alpha * (fed @ up + up_bias).reshape(-1)
    return DynamicSum(
        M=F if p.residual_after_norm else M,
        m=f if p.residual_after_norm else m,
        W=inner @ F,
        b=inner @ f + b1.repeat(len(X)),
        alpha=alpha,
        constant=b2.repeat(len(X)),
        sigma=p.sigma,
    )


def _attention_path(
    p: Parts,
    X: Tensor,
    P: Tensor,
) -> tuple[Tensor, Tensor]:
    """M and m of attention with its skip connection: M vec(X) + m is what leaves it."""
    size = X.numel()
    N1, n1 = p.norms[0].affine(X)
    A = torch.einsum("hts,hei,hid->tdse", P, p.value, p.out).reshape(size, size)
    # P's rows sum to one only up to rounding, so the value bias keeps them.
    a = torch.einsum("hts,hi,hid->td", P, p.value_bias, p.out) + p.out_bias
    M = A @ N1
    m = A @ n1 + a.reshape(-1)
    if p.residual_after_norm:
        return M + N1, m + n1
    return M + torch.eye(size, dtype=X.dtype, device=X.device), m


def _each_token(weight: Tensor, X: Tensor) -> Tensor:
    """The matrix that multiplies every row of X by `weight` from the right, acting on vec(X)."""
    one = torch.eye(len(X), dtype=X.dtype, device=X.device)
    return torch.kron(one, weight.T.contiguous())


def compose(sums: Sequence[DynamicSum], X: Float[Tensor, "token dim"]) -> DynamicSum:
    """Sums applied one after the other, at X, as one sum in X.

    Every later unit reads X through the affine paths before it, and its bias swallows all earlier
    units.
    """
    x = X.reshape(-1)
    total = sums[0]
    for block in sums[1:]:
        inside = total.alpha @ total.sigma(total.W @ x + total.b)
        shift = total.m + total.constant
        total = DynamicSum(
            M=block.M @ total.M,
            m=block.M @ shift + block.m,
            constant=block.constant,
            W=torch.cat([total.W, block.W @ total.M]),
            b=torch.cat([total.b, block.W @ (shift + inside) + block.b]),
            alpha=torch.cat([block.M @ total.alpha, block.alpha], 1),
            sigma=block.sigma,
        )
    return total


def stack_sum(stack: Sequence[Call]) -> DynamicSum:
    """A whole stack of blocks, as `blocks.calls` records it, as one sum in the input of the
    first."""
    return compose([dynamic_sum(call) for call in stack], stack[0].X)


@torch.no_grad()
def response(
    form: DynamicSum,
    f: Callable[[Tensor], Tensor],
    X: Float[Tensor, "token dim"],
    step: Float[Tensor, "token dim"],
) -> dict[str, float]:
    """Errors of three predictions of f(X + step), as shares of the true change |f(X + step) −
    f(X)|.

    "frozen": the sum with its coefficients of X; "unchanged": the output moves as the input does;
    "tangent": the derivative of f at X, a static map as well (central differences: give f and X in
    float64).
    """
    Y = f(X)
    true = f(X + step)
    h = 1e-5 * float(X.norm() / step.norm())
    slope = (f(X + h * step) - f(X - h * step)) / (2 * h)
    change = (true - Y).norm()

    def share(guess: Tensor) -> float:
        return float((guess - true).norm() / change)

    return {
        "frozen": share(form.evaluate(X + step)),
        "unchanged": share(Y + step),
        "tangent": share(Y + slope),
    }
