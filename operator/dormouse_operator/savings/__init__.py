"""`dormouse-operator savings`: what sleeping saved, from figures that replicas measured."""
