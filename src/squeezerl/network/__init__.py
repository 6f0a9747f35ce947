"""What a policy is: a network as data, the arithmetic that defines it, its form in torch."""
