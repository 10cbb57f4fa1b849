"""Three hints for each exercise: where to look, what to do, and nearly all of it."""

HINTS = {
    "unbroadcast": (
        "Write the shapes below one another, aligned at the right. Which entries of the gradient "
        "come from uses of one entry of x?",
        "Put ones in front of x's shape until it has as many axes as the gradient. The axes to sum "
        "are those where x has 1 and the gradient has not.",
        "grad.sum(axis=..., keepdims=True) keeps the places of the other axes; reshape takes the "
        "axes in front away.",
    ),
    "order": (
        "When may a node hand on its gradient? When all that use it have. So you need to know how "
        "many uses are still to come.",
        "First walk over all nodes once (a stack and a dict, no recursion) and count for each how "
        "often it is an input.",
        "Then take root; for each of its inputs lower the count by one; a node whose count has "
        "come to 0 is next. A node used twice by one user counts twice.",
    ),
    "swish": (
        "A product: y = x times s(x). And y is differentiated at each element by itself.",
        "dy/dx = s(x) + x s'(x), and s' = s (1 - s).",
        "dx is dy times that. Far from 0 all of x, s and 1 - s stay finite, so nothing else is "
        "needed.",
    ),
    "kl": (
        "One latent: KL = E_q[ln q(z) - ln p(z)]. Which terms of the two logarithms cancel?",
        "E_q (z - mu)^2 = sigma^2 and E_q z^2 = mu^2 + sigma^2, each with 1/2 before it: "
        "docs/gaussian-kl.md.",
        "1/2 of the sum over d of mu^2 + sigma^2 - 1 - logvar, with sigma^2 - 1 = expm1(logvar). "
        "Subtract logvar from expm1 first, then add mu^2.",
    ),
    "reparameterise": (
        "sigma is not exp(logvar): logvar is ln sigma^2.",
        "z = mu + exp(logvar/2) eps. In backward eps is a constant like any other saved array.",
        "dz/dmu = 1. dz/dlogvar = eps times the derivative of exp(logvar/2), which brings a factor "
        "of 1/2 down.",
    ),
    "adjoint": (
        "Write conv as three loops that add w_k x_j to y_i. The adjoint adds w_k y_i to x_j, with "
        "the same i, j and k.",
        "j = stride i + k - padding. Easiest is an array with the padding still on, as conv has.",
        "For each i add y_i w to the K entries of the padded array that begin at stride i; cut "
        "the padding off at the end. Nothing is flipped.",
    ),
    "bound": (
        "ln sum exp(a) = m + ln sum exp(a - m) for every m. Which m keeps the sum away from 0 and "
        "from infinity?",
        "With m the largest of a row its own term is exp(0) = 1 and no other is larger. Another "
        "row's largest may be a thousand nats away.",
        "log_weights.max(axis=1, keepdims=True) gives each row its own; then the mean over K, not "
        "the sum.",
    ),
    "loss_curve": (
        "Look at the first point before the shape: 543 nats is right. And at which of rec and KL "
        "does something.",
        "A mean over 784 pixels starts at 0.69. Logits in (0, 1) cannot say that a pixel is "
        "surely black: ln 2 for each. Pixels of 255 are absurd before the first update.",
        "A KL that is not paid for grows; one that is paid out grows without bound. A large rate "
        "jumps within ten steps; gradients that pile up start well and then overshoot.",
    ),
    "batch_norm": (
        "db and dw are sums over the batch. For dx first take x^ as given: dx^ = w dy.",
        "x moves x^ directly, through the mean and through the variance. If all x grow by one, x^ "
        "stays: so dx must sum to 0. What does scaling x say?",
        "dx = w / sqrt(var + eps) [dy - mean(dy) - x^ mean(dy x^)], means over the batch, divided "
        "by N and not by N - 1: docs/batch-norm.md.",
    ),
    "free_bits": (
        "Three steps, and their order matters: mean over images, maximum, sum over latents.",
        "max(a, b) = a + relu(b - a).",
        "F.mean(kl, axis=0) has one number for each latent; a latent below nats must still cost "
        "nats, or the loss would not be a bound.",
    ),
    "dreg": (
        "w~ is the softmax of each row; take the row's largest from it first, as in exercise 7.",
        "One w~ comes from differentiating the logarithm of the sum. The other replaces the "
        "noisy part of the gradient.",
        "-w~^2 times the slopes, divided by the number of images, because the loss is a mean and "
        "has a minus.",
    ),
    "half_memory": (
        "Count in the definition: exp(logvar/2), times eps, mu * mu, expm1, their difference, "
        "their sum. Which of them could be written over?",
        "z may be built in one array: z = np.exp(logvar / 2), z *= eps, z += mu. (logvar / 2 is a "
        "second one for a moment.) For the KL one more array is enough.",
        "terms = np.expm1(logvar); terms -= logvar. Sum it in float64 (sum's argument dtype), add "
        "the squares by einsum, halve.",
    ),
}
