"""Adam with decoupled weight decay, in place on a flat vector.

Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1, and Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CHUNK = 16384
"""Elements a pass works on: five float32 arrays of this length (320 KiB) stay in a core's cache between the passes."""


class Adam:
    """The state of the optimizer for one flat vector of weights.

    The paper's moments carry the factors (1 - beta1) and (1 - beta2). They are kept divided by them,
    m = beta1 m + g and v = beta2 v + g^2, which saves two passes over memory a step; the factors return in two scalars:

        theta -= s * m / (sqrt(v) + e),   s = learning_rate (1 - beta1) / (1 - beta1^t) * r,   e = epsilon * r,
        r = sqrt((1 - beta2^t) / (1 - beta2)).

    Attributes:
        m, v: (parameters,) the rescaled moments, in the dtype of the weights.
        t: steps taken.
    """

    def __init__(self, theta: Floats, beta1: float, beta2: float, epsilon: float, weight_decay: float = 0.0) -> None:
        self.m: Floats = np.zeros_like(theta)
        self.v: Floats = np.zeros_like(theta)
        self.t = 0
        self._theta = theta
        self._betas = beta1, beta2
        self._epsilon = epsilon
        self._weight_decay = weight_decay
        self._scratch = np.empty(min(CHUNK, theta.size), theta.dtype)
        self._chunks = [slice(start, start + CHUNK) for start in range(0, theta.size, CHUNK)]

    def step(self, gradient: Floats, learning_rate: float) -> None:
        """Move the weights against `gradient` (parameters,), which is left as it is.

        Every weight is first shrunk by learning_rate * weight_decay of itself, as in AdamW.
        """
        self.t += 1
        beta1, beta2 = self._betas
        r = math.sqrt((1 - beta2**self.t) / (1 - beta2))
        scale = learning_rate * (1 - beta1) / (1 - beta1**self.t) * r
        epsilon = self._epsilon * r
        keep = 1 - learning_rate * self._weight_decay
        for chunk in self._chunks:
            theta, g, m, v = self._theta[chunk], gradient[chunk], self.m[chunk], self.v[chunk]
            scratch = self._scratch[: theta.size]
            m *= beta1
            m += g
            np.multiply(g, g, out=scratch)
            v *= beta2
            v += scratch
            np.sqrt(v, out=scratch)
            scratch += epsilon
            np.divide(m, scratch, out=scratch)
            scratch *= scale
            if self._weight_decay:
                theta *= keep
            theta -= scratch
