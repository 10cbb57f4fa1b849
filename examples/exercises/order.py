"""Exercise 2: the order of the backward pass.

A node hands its gradient to its inputs once, so when its turn comes everything that uses it must
have had its turn. In

    b = a + a,  c = b + b,  d = c + b

a walk from d that follows every path reaches b three times and a six times. With 60 such steps in a
row that is more steps than there are atoms in a cup of water.
"""


def backward_order(root):
    """The nodes behind ``root``, each once and after every node that uses it.

    Args:
        root: a node. ``node.inputs`` is a tuple of the nodes it was computed from; leaves have ().

    Returns:
        A list of nodes that begins with ``root``. A graph may be 10,000 nodes deep, so do not
        recurse; look at ``inputs`` at most a few times for each node.
    """
    raise NotImplementedError("a list of nodes: root first, every node after all that use it")
