"""Exercise 2: the order of the backward pass."""


def backward_order(root):
    """Count the uses of each node, then take a node when its last use has been taken."""
    uses, stack = {root: 0}, [root]
    while stack:
        for node in stack.pop().inputs:
            if node not in uses:
                uses[node] = 0
                stack.append(node)
            uses[node] += 1
    order, ready = [], [root]
    while ready:
        order.append(ready.pop())
        for node in order[-1].inputs:
            uses[node] -= 1
            if uses[node] == 0:
                ready.append(node)
    return order
