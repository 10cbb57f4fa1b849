"""Exercise 8: find the bug from the loss curve."""

ANSWERS = {
    "A": "rec is a mean over pixels",  # starts at ln 2, and next to it the KL is not worth paying
    "B": "the learning rate is 100 times too large",  # falls within ten steps, then stays at 210
    "C": "none",  # from 543 down, rec and KL of the usual size
    "D": "pixels are 0 to 255",  # absurd from the first step on, before anything was learned
    "E": "gradients are not cleared",  # starts well, then overshoots again and again
    "F": "the KL is subtracted",  # the loss falls without bound because the KL rises
    "G": "the KL is left out",  # the loss is rec, and the KL rises for nothing
    "H": "the sigmoid is applied twice",  # logits in (0, 1) leave each background pixel ln 2
}
